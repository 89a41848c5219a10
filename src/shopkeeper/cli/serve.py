"""`serve`: a bundle behind HTTP, until it is told to stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shopkeeper.errors import UserError


def serve(bundle: Path, host: str, port: int, **limits: Any) -> None:
    """Run a server of one process. SIGTERM and Ctrl-C end it once what it has taken is answered."""
    try:
        import uvicorn

        from shopkeeper.service import Limits, create_app
        from shopkeeper.service.logs import to_stderr
    except ImportError as e:
        raise UserError(f'{e.name} is not installed: `pip install "shopkeeper[service]"`') from None
    told = Limits(**limits)
    app = create_app(bundle, told)
    to_stderr()
    uvicorn.run(app, host=host, port=port, log_config=None, access_log=False, server_header=False,
                limit_concurrency=told.waiting + 64,  # connections: what they send lies in memory
                timeout_graceful_shutdown=int(told.drain) + 1)  # fmt: skip
