"""An application asked in this process, without a network: each request a message, as a server sends it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from shopkeeper.service import Limits

QUIET = Limits(reload=0)


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[None]:
    """Between its start and its stop."""
    async with app.router.lifespan_context(app):
        yield


async def ask(
    app: Any, path: str, body: Any = None, *, method: str | None = None, headers: dict[str, str] | None = None,
    pieces: list[bytes] | None = None, stalled: bool = False,
) -> Response:  # fmt: skip
    """`body`: bytes as they are, any other value as JSON; `pieces`: a body that comes in parts, of unknown length;
    `stalled`: its end does not come.
    """
    sent = {"content-type": "application/json"} if body is not None or pieces else {}
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    if pieces is None:
        sent["content-length"] = str(len(content))
        pieces = [content]
    sent |= headers or {}
    rest = [
        {"type": "http.request", "body": piece, "more_body": stalled or n + 1 < len(pieces)}
        for n, piece in enumerate(pieces)
    ]
    told: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return rest.pop(0) if rest else await asyncio.Event().wait() or {}

    async def send(message: dict[str, Any]) -> None:
        told.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "server": ("test", 80), "client": ("test", 1),
        "method": method or ("GET" if body is None and pieces == [b""] else "POST"), "app": app,
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
    }  # fmt: skip
    await app(scope, receive, send)
    start = told[0]
    headers_back = {name.decode(): value.decode() for name, value in start["headers"]}
    return Response(start["status"], headers_back, b"".join(m.get("body", b"") for m in told[1:]))


def within(app: Any, what: Callable[[], Awaitable[Any]]) -> Any:
    """What a scenario gives while the application runs."""

    async def scenario() -> Any:
        async with running(app):
            return await what()

    return asyncio.run(scenario())


def asked(app: Any, path: str, body: Any = None, **more: Any) -> Response:
    found: Response = within(app, lambda: ask(app, path, body, **more))
    return found


class Slow:
    """Answers when it is let; notes which requests came together."""

    def __init__(self) -> None:
        self.go, self.batches = threading.Event(), list[int]()

    def __call__(self, said: Any) -> list[dict[str, Any]]:
        self.batches.append(len(said))
        assert self.go.wait(30)
        return [{"said": one} for one in said]


def slowed(app: Any) -> Slow:
    app.state.service.opened.answer = slow = Slow()
    return slow


async def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)
