"""The service: one bundle behind HTTP. What it takes and gives is what `shopkeeper answer` does, line for line.

POST /v1/answer    a request -> its answer
POST /v1/answers   {"requests": […]} -> {"answers": […]}, each an answer or an error
GET  /v1/bundle    what answers: model, task, data, versions
GET  /health/live, /health/ready, /metrics, /openapi.json, /docs
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope

from shopkeeper import __version__
from shopkeeper.bundles.answer.wire import refusal, request_schema, response_schema
from shopkeeper.service.around import ASKED, Admitted, Answered, Counted, Questions, too_many
from shopkeeper.service.batches import Batches, FullError
from shopkeeper.service.body import STATUS, RefusedError, answer_of, read
from shopkeeper.service.figures import TYPE, Figures
from shopkeeper.service.limits import Limits
from shopkeeper.service.opened import Opened

log = logging.getLogger("shopkeeper.service")
READING = 64  # requests whose bodies come in, beside those that wait
SHOWN = ("model", "task", "seed", "kind", "scorer", "format_version", "git_commit", "data", "exported", "versions", "k",
         "index", "variant")  # fmt: skip


class Service:
    """A bundle, its queue and its figures."""

    def __init__(self, path: Path, limits: Limits, approximate: bool = False):
        self.limits, self.opened, self.figures = limits, Opened(path, approximate=approximate), Figures()
        self.batches: Batches | None = None  # None: not begun, or stopping

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Take requests within; behind it answer what was taken."""
        batches = self.batches = Batches(self.opened.answer, self.limits.waiting, self.limits.together)
        batches.sizes = self.figures.batches.add
        watch = asyncio.create_task(self._watch()) if self.limits.reload else None
        log.info("started", extra={"told": {"bundle": self.opened.seal[:12]}})
        yield
        self.batches = None
        if watch is not None:
            watch.cancel()
        done = await batches.close(self.limits.drain)
        log.info("stopped", extra={"told": {"unanswered": 0 if done else batches.taken}})

    async def ask(self, said: list[Any]) -> list[dict[str, Any]]:
        """Answers in order; what is too long gets its error, and only that."""
        if self.batches is None:
            raise RefusedError("stopping", "this service is stopping; ask another one")
        refused = {n: refusal(why, one, "too_long") for n, one in enumerate(said) if (why := self.limits.too_long(one))}
        try:
            answers = await self.batches.ask([one for n, one in enumerate(said) if n not in refused])
        except FullError:
            raise too_many() from None
        for n, one in refused.items():
            answers.insert(n, one)
        for one in answers:
            if "error" in one:
                self.figures.refused[one["error"]["code"]] += 1
        return answers

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self.limits.reload)
            try:
                taken = await asyncio.get_running_loop().run_in_executor(None, self.opened.look, self.figures)
                if taken and self.batches is not None:
                    self.batches.size = 0.0  # nobody knows how long the newer one takes
            except Exception:  # whatever lies there: what is in memory answers on
                log.exception("reload", extra={"told": {"outcome": "failed"}})


def create_app(bundle: Path | str, limits: Limits | None = None, *, approximate: bool = False) -> FastAPI:
    """The ASGI application that answers from a bundle; `approximate`: from its index (`Bundle.load`).

    Raises:
        UserError: no bundle, a damaged one, or one whose golden requests come out differently.
    """
    service = Service(Path(bundle), limits or Limits(), approximate)
    app = FastAPI(title="shopkeeper", version=__version__, lifespan=service.lifespan, redoc_url=None)
    app.state.service = service

    async def answer(scope: Scope, receive: Receive) -> Answered:
        (found,) = await service.ask([await read(scope, receive, service.limits)])
        return found, STATUS[found["error"]["code"]] if "error" in found else 200

    async def answers(scope: Scope, receive: Receive) -> Answered:
        said = await read(scope, receive, service.limits)
        if not isinstance(said, dict) or set(said) != {"requests"} or not isinstance(said["requests"], list):
            raise RefusedError("bad_request", 'write an object with a list, {"requests": [{"history": ["sku-1"]}]}')
        if len(said["requests"]) > service.limits.in_body:
            raise RefusedError("too_long", f"a body has at most {service.limits.in_body:,} requests")
        return {"answers": await service.ask(said["requests"])}, 200

    async def refer(request: Request) -> Response:
        raise HTTPException(404)  # `Questions` has answered what is asked there; the route says which methods there are

    asked = dict(zip(ASKED, (answer, answers), strict=True))
    app.router.routes += [Route(path, refer, methods=["POST"]) for path in asked]
    app.add_middleware(Questions, answers=asked, figures=service.figures)  # before the routes, which know these, too

    @app.get("/v1/bundle", summary="What answers")
    async def what() -> Response:
        manifest = service.opened.bundle.manifest
        told = {"bundle": service.opened.seal, "approximate": service.opened.approximate}
        return answer_of(told | {key: manifest[key] for key in SHOWN if key in manifest})

    @app.get("/health/live", summary="Whether the process runs")
    async def live() -> Response:
        return answer_of({"live": True})

    @app.get("/health/ready", summary="Whether requests are taken")
    async def ready() -> Response:
        taken = service.batches is not None and service.batches.taken < service.limits.waiting
        return answer_of({"ready": taken}, 200 if taken else 503)

    @app.get("/metrics", summary="Figures for Prometheus", response_class=PlainTextResponse)
    async def metrics() -> Response:
        waiting = 0 if service.batches is None else service.batches.taken
        text = service.figures.text(service.opened.bundle.seen, waiting, service.batches is not None)
        return Response(text, media_type=TYPE)

    _answer_errors(app, service)
    app.openapi = lambda: _described(app, service)  # type: ignore[method-assign]
    return app


def _answer_errors(app: FastAPI, service: Service) -> None:
    """Every error is JSON with a code and nothing from within; every response is counted and logged."""

    @app.exception_handler(RefusedError)
    async def of_questions(request: Request, error: RefusedError) -> Response:
        service.figures.refused[error.code] += 1
        return error.response()

    @app.exception_handler(HTTPException)
    async def of_pages(request: Request, error: HTTPException) -> Response:
        code = {404: "no_such_page", 405: "no_such_method"}.get(error.status_code, "bad_request")
        response = RefusedError(code, f"{str(error.detail).lower()}; GET /openapi.json says what there is").response()
        if allowed := (error.headers or {}).get("Allow"):
            response.headers["Allow"] = allowed
        return response

    app.add_middleware(Admitted, most=service.limits.waiting + READING, figures=service.figures)
    app.add_middleware(Counted, figures=service.figures)  # the last one added stands outside


def _described(app: FastAPI, service: Service) -> dict[str, Any]:
    """OpenAPI 3.1, with the schemas of the bundle that answers now."""
    manifest = service.opened.bundle.manifest
    table = service.opened.bundle.vocabulary.content.get("table") or {}
    one, answer = _plain(request_schema(manifest, table.get("columns", ()))), _plain(response_schema(manifest))
    most = service.limits.in_body
    error = {"type": "object", "required": ["error"], "properties": {"id": {"type": "string"}, "error": {
        "type": "object", "required": ["code", "message"],
        "properties": {"code": {"enum": [*STATUS]}, "message": {"type": "string"}}}}}  # fmt: skip
    several = {"type": "object", "required": ["requests"], "additionalProperties": False,
               "properties": {"requests": {"type": "array", "items": one, "maxItems": most}}}  # fmt: skip
    each = {"type": "object", "required": ["answers"], "properties": {
        "answers": {"type": "array", "items": {"anyOf": [answer, error]}}}}  # fmt: skip
    found = get_openapi(title=app.title, version=app.version, routes=app.routes)
    for path, summary, asked, given in (
        (ASKED[0], "One request, its answer", one, answer),
        (ASKED[1], "Several requests, an answer or an error to each", several, each),
    ):
        body = {"required": True, "content": {"application/json": {"schema": asked}}}
        refused = {str(status): {"description": code, "content": {"application/json": {"schema": error}}}
                   for code, status in STATUS.items() if not code.startswith("no_")}  # fmt: skip
        good = {"description": "answered", "content": {"application/json": {"schema": given}}}
        found["paths"][path] = {"post": {"summary": summary, "operationId": path.strip("/").replace("/", "_"),
                                         "requestBody": body, "responses": {"200": good, **refused}}}  # fmt: skip
    found["paths"]["/metrics"]["get"]["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    not_ready = {"description": "full, or stopping", "content": {"application/json": {"schema": {}}}}
    found["paths"]["/health/ready"]["get"]["responses"]["503"] = not_ready
    return found


def _plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema as a part of another document."""
    return {key: value for key, value in schema.items() if key != "$schema"}
