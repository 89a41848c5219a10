"""Reads a request's body, no further than it may be long, and writes answers and refusals."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from starlette.requests import ClientDisconnect

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


async def read(request: Request, limits: Limits) -> Any:
    """The JSON of a body; a `RefusedError` says what is wrong with it."""
    most = limits.body
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RefusedError("not_json", "send JSON with the content type application/json")
    large = RefusedError("too_large", f"a body has at most {most:,} bytes")
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > most:
        raise large
    content = bytearray()
    try:
        async with asyncio.timeout(limits.arrive or None):
            async for chunk in request.stream():
                content += chunk
                if len(content) > most:
                    raise large
    except TimeoutError:  # others wait for its place
        raise RefusedError("too_slow", f"the body did not come in {limits.arrive:g} seconds") from None
    except ClientDisconnect:
        raise RefusedError("no_client", "the connection ended before the body did") from None
    try:
        return parsed(bytes(content))
    except ValueError as e:
        raise RefusedError("bad_json", str(e)) from None


def answer_of(value: Any, status: int = 200) -> Response:
    """A value as JSON."""
    return Response(as_json(value), status, media_type="application/json")
