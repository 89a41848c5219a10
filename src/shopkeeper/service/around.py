"""What stands around the application: who is let in, and what is counted and logged of each response."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shopkeeper.service.body import RefusedError, give
from shopkeeper.service.figures import Figures

log = logging.getLogger("shopkeeper.service")
ASKED = ("/v1/answer", "/v1/answers")
Answered = tuple[object, int]  # what is answered as JSON, and the status
PATHS = {*ASKED, "/v1/bundle", "/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs"}


class Questions:
    """Answers what is asked of the bundle, and leaves the rest to the application.

    On their way through its layers and routes, which look for what these requests do not have, they took as long again
    as many an answer. Neither are they made into objects that know all of HTTP: behind a product with the vectors of
    all items, which drives everything else out of the processor's cache, it counts how much code an answer touches.
    """

    def __init__(
        self, app: ASGIApp, answers: Mapping[str, Callable[[Scope, Receive], Awaitable[Answered]]], figures: Figures
    ):
        self.app, self.answers, self.figures = app, answers, figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        answer = self.answers.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if answer is None:
            await self.app(scope, receive, send)
            return
        try:
            value, status = await answer(scope, receive)
        except RefusedError as e:
            self.figures.refused[e.code] += 1
            await e.response()(scope, receive, send)
        else:
            await give(send, value, status)


class Admitted:
    """Lets in so many questions at a time; a further one gets 429 before its body is read.

    Connections are not counted: who holds one and asks nothing costs next to nothing, and a server that closes or does
    not answer one cannot tell its client when to ask again.
    """

    def __init__(self, app: ASGIApp, most: int, figures: Figures):
        self.app, self.most, self.figures = app, most, figures
        self.within = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"] not in ASKED:
            await self.app(scope, receive, send)
            return
        if self.within >= self.most:
            self.figures.refused["too_many"] += 1
            await too_many().response()(scope, receive, send)
            return
        self.within += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.within -= 1


class Counted:
    """Counts and logs responses around an ASGI application, and answers where it fails."""

    def __init__(self, app: ASGIApp, figures: Figures):
        self.app, self.figures = app, figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0
        path = scope["path"] if scope["path"] in PATHS else "other"

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except Exception:
            log.exception("failed", extra={"told": {"path": path}})
            if not status:
                failed = RefusedError("failed", "the answer failed; its error is in the service's log").response()
                await failed(scope, receive, noted)
        seconds = time.perf_counter() - start
        self.figures.responses[path, status] += 1
        if path in ASKED:
            self.figures.seconds.add(seconds)
            log.info("answered", extra={"told": {"path": path, "status": status, "ms": round(seconds * 1e3, 2)}})


def too_many() -> RefusedError:
    """Of a request for which there is no room."""
    return RefusedError("too_many", "too many requests wait; ask again in a second")
