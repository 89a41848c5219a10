"""`serve`: a bundle behind HTTP, until it is told to stop."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from shopkeeper.errors import UserError

BACKLOG = 4096  # connections that are not accepted yet; the system may hold fewer
IDLE = 75  # seconds that a connection may stay idle: longer than proxies hold theirs, who else write to a closed one


def serve(bundle: Path, host: str, port: int, approximate: bool = False, **limits: Any) -> None:
    """Run a server of one process. SIGTERM and Ctrl-C end it once what it has taken is answered.

    `approximate`: it answers from the bundle's index.
    """
    try:
        import uvicorn

        from shopkeeper.service import Limits, create_app
        from shopkeeper.service.logs import to_stderr
    except ImportError as e:
        raise UserError(f'{e.name} is not installed: `pip install "shopkeeper[service]"`') from None
    told = Limits(**limits)
    app = create_app(bundle, told, approximate=approximate)
    to_stderr()
    gc.collect()
    gc.freeze()  # a vocabulary is looked through by every full collection, in the middle of somebody's answer
    uvicorn.run(app, **server_settings(host, port, told.drain))


def server_settings(host: str, port: int, drain: float) -> dict[str, Any]:
    """Of uvicorn.

    Connections have no limit: uvicorn closes those beyond it, and then nobody tells their client when to ask again.
    """
    return {"host": host, "port": port, "log_config": None, "access_log": False, "server_header": False,
            "backlog": BACKLOG, "timeout_keep_alive": IDLE, "timeout_graceful_shutdown": int(drain) + 1}  # fmt: skip
