"""Reads a request's body, no further than it may be long, and writes answers and refusals."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from shopkeeper.bundles.answer.lines import as_json, parsed
from shopkeeper.bundles.answer.wire import refusal
from shopkeeper.service.limits import Limits

STATUS = {"bad_json": 400, "bad_request": 422, "too_large": 413, "too_long": 422, "too_many": 429, "not_json": 415,
          "too_slow": 408, "stopping": 503, "no_such_page": 404, "no_such_method": 405, "failed": 500,
          "no_client": 499}  # fmt: skip  # as nginx notes it: nobody is there to be told


class RefusedError(Exception):
    """What is answered with a code of `STATUS`."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code, self.message = code, message

    def response(self) -> Response:
        """As JSON."""
        headers = {"Retry-After": "1"} if STATUS[self.code] in (429, 503) else None
        return Response(as_json(refusal(self.message, code=self.code)), STATUS[self.code], headers, "application/json")


async def read(scope: Scope, receive: Receive, limits: Limits) -> Any:
    """The JSON of a body; a `RefusedError` says what is wrong with it."""
    most, told = limits.body, dict(scope["headers"])
    if told.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
        raise RefusedError("not_json", "send JSON with the content type application/json")
    said = told.get(b"content-length", b"")
    if said.isdigit() and int(said) > most:
        raise _large(most)
    try:
        async with asyncio.timeout(limits.arrive or None):
            content, more = b"", True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RefusedError("no_client", "the connection ended before the body did")
                content, more = content + message.get("body", b""), message.get("more_body", False)
                if len(content) > most:
                    raise _large(most)
    except TimeoutError:  # others wait for its place
        raise RefusedError("too_slow", f"the body did not come in {limits.arrive:g} seconds") from None
    try:
        return parsed(content)
    except ValueError as e:
        raise RefusedError("bad_json", str(e)) from None


def _large(most: int) -> RefusedError:
    return RefusedError("too_large", f"a body has at most {most:,} bytes")


async def give(send: Send, value: Any, status: int = 200) -> None:
    """Send a value as JSON, in the two messages that there must be."""
    content = as_json(value)
    headers = [(b"content-length", str(len(content)).encode()), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def answer_of(value: Any, status: int = 200) -> Response:
    """A value as JSON."""
    return Response(as_json(value), status, media_type="application/json")
