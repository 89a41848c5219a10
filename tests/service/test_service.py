"""The service answers as the bundle does, refuses with a code what it cannot take, and says nothing of anybody."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import uvicorn
from asgi import Response, ask, running
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shopkeeper.bundles.answer import Bundle
from shopkeeper.bundles.write import export_bundle
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.bundles.write.seal import seal
from shopkeeper.cli.serve import server_settings
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.counting.popularity import Popularity
from shopkeeper.recommenders.counting.recency import Recency
from shopkeeper.service import Limits, create_app
from shopkeeper.service.logs import AsJson
from tiny import tiny_prepared

QUIET = Limits(reload=0)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("service")
    histories = [np.random.default_rng(u).integers(1, 13, 8).tolist() for u in range(20)]
    prepared, split = tiny_prepared(place / "tiny", histories, n_items=12)
    made = {}
    for name, model in {"recency": Recency(), "popularity": Popularity()}.items():
        model.fit(prepared, split, Fit())
        run = MadeFrom(model=name, task="next_item")
        made[name] = export_bundle(model, prepared, split, run, place / name, k=5, golden=10)
    return made


@pytest.fixture
def folder(exported: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported["recency"], tmp_path / "bundle"))


def within(app: Any, what: Callable[[], Awaitable[Any]]) -> Any:
    """What a scenario gives while the application runs."""

    async def scenario() -> Any:
        async with running(app):
            return await what()

    return asyncio.run(scenario())


def asked(app: Any, path: str, body: Any = None, **more: Any) -> Response:
    found: Response = within(app, lambda: ask(app, path, body, **more))
    return found


def test_a_request_is_answered_as_by_the_bundle_and_its_golden_requests_come_out(folder: Path):
    golden = json.loads((folder / "golden.json").read_text())["requests"]
    questions = [{key: value for key, value in g.items() if key != "expected"} for g in golden]
    found = asked(create_app(folder, QUIET), "/v1/answers", {"requests": questions})
    assert found.status == 200
    lists = [[i["item_id"] for i in one["items"]] for one in found.json["answers"]]
    assert lists == [[i["item_id"] for i in g["expected"]["items"]] for g in golden]
    alone = asked(create_app(folder, QUIET), "/v1/answer", {"history": ["i1", "gone"], "k": 2, "id": "a"}).json
    (wanted,) = Bundle.load(folder).recommend([["i1"]], k=2)
    assert [(i["item_id"], i["score"]) for i in alone["items"]] == wanted
    assert (alone["id"], alone["unknown_items"], alone["reason"]) == ("a", 1, "")


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/answer", b"{", 400, "bad_json"),
        ("/v1/answer", b'{"history": [NaN]}', 400, "bad_json"),
        ("/v1/answer", b'{"history": [], "k": ' + b"9" * 5000 + b"}", 400, "bad_json"),
        ("/v1/answer", b'{"history": [["i1", "view", null, 1e999]]}', 422, "bad_request"),
        ("/v1/answer", b'{"history": [["i1", "view", null, 1' + b"0" * 400 + b"]]}", 422, "bad_request"),
        ("/v1/answer", {"history": [], "as_of": "0001-01-01"}, 200, None),
        ("/v1/answer", b"\xff", 400, "bad_json"),
        ("/v1/answer", b"[" * 90_000, 400, "bad_json"),
        ("/v1/answer", {"history": "i1"}, 422, "bad_request"),
        ("/v1/answer", {"history": [], "exclude": "i1"}, 422, "bad_request"),
        ("/v1/answer", {"history": [], "k": 6}, 422, "bad_request"),
        ("/v1/answer", {"history": ["i1"] * 21}, 422, "too_long"),
        ("/v1/answer", {"history": ["i1"], "exclude": ["x"] * 20}, 422, "too_long"),
        ("/v1/answer", b'{"history": ["' + b"x" * 100_000 + b'"]}', 413, "too_large"),
        ("/v1/answers", {"requests": {}}, 422, "bad_request"),
        ("/v1/answers", {"requests": [{"history": []}] * 5}, 422, "too_long"),
        ("/v1/elsewhere", {}, 404, "no_such_page"),
        ("/metrics", {}, 405, "no_such_method"),
    ],
)
def test_what_cannot_be_answered_has_a_code_and_tells_nothing_from_within(
    folder: Path, path: str, body: Any, status: int, code: str | None
):
    found = asked(create_app(folder, Limits(reload=0, body=100_000, history=20, requests=4)), path, body)
    assert (found.status, found.json.get("error", {}).get("code")) == (status, code)
    assert str(folder) not in found.content.decode()
    assert "Traceback" not in found.content.decode()


def test_a_body_of_unknown_length_is_read_no_further_than_it_may_be_long(folder: Path):
    app = create_app(folder, Limits(reload=0, body=1000))
    found = asked(app, "/v1/answer", pieces=[b"x" * 600] * 3, method="POST")
    assert (found.status, found.json["error"]["code"]) == (413, "too_large")
    plain = asked(app, "/v1/answer", {"history": []}, headers={"content-type": "text/plain"})
    assert (plain.status, plain.json["error"]["code"]) == (415, "not_json")


def test_among_several_requests_a_wrong_one_stops_nobody(folder: Path):
    body = {"requests": [{"history": ["i1"]}, 3, {"history": ["i1"] * 30, "id": "long"}, {"history": ["i2"]}]}
    found = asked(create_app(folder, Limits(reload=0, history=20)), "/v1/answers", body).json["answers"]
    assert [one.get("error", {}).get("code") for one in found] == [None, "bad_request", "too_long", None]
    assert found[2]["id"] == "long"


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


def test_what_waits_while_the_model_is_at_work_is_answered_together(folder: Path):
    app = create_app(folder, Limits(reload=0, together=4))
    slow = slowed(app)

    async def scenario() -> list[Any]:
        first = asyncio.create_task(ask(app, "/v1/answer", {"n": 0}))
        await until(lambda: bool(slow.batches))
        others = [asyncio.create_task(ask(app, "/v1/answer", {"n": n})) for n in range(1, 7)]
        await until(lambda: app.state.service.batches.taken == 7)
        slow.go.set()
        return [one.json for one in await asyncio.gather(first, *others)]

    assert within(app, scenario) == [{"said": {"n": n}} for n in range(7)]
    assert slow.batches == [1, 4, 2]


def test_what_takes_no_time_is_answered_in_the_loop_and_what_does_not_in_a_thread(folder: Path):
    app = create_app(folder, QUIET)
    right, where = app.state.service.opened.answer, list[bool]()

    async def scenario() -> Any:
        here, seconds = threading.get_ident(), 0.0

        def noted(said: Any) -> Any:
            where.append(threading.get_ident() == here)
            end = time.thread_time() + seconds
            while time.thread_time() < end:
                pass
            return right(said)

        batches = app.state.service.batches
        batches.answer = noted
        await ask(app, "/v1/answer", {"history": ["i1"]})  # how long it takes is not known yet
        batches.each = 1e-4
        await ask(app, "/v1/answer", {"history": ["i1"]})
        batches.each, seconds = 1e-4, 0.02
        await ask(app, "/v1/answer", {"history": ["i1"]})  # slower than it was: the next ones have a thread
        return await ask(app, "/v1/answer", {"history": ["i1"]})

    assert within(app, scenario).status == 200
    assert where == [False, True, True, False]


def test_more_than_may_wait_gets_429_at_once_and_the_others_their_answers(folder: Path):
    app = create_app(folder, Limits(reload=0, waiting=3))
    slow = slowed(app)

    async def scenario() -> Any:
        taken = [asyncio.create_task(ask(app, "/v1/answer", {"n": n})) for n in range(3)]
        await until(lambda: app.state.service.batches.taken == 3)
        refused, ready = await ask(app, "/v1/answer", {"n": 9}), await ask(app, "/health/ready")
        slow.go.set()
        answered = await asyncio.gather(*taken)
        return refused, ready, answered, await ask(app, "/health/ready"), await ask(app, "/v1/answer", {"n": 4})

    refused, ready, answered, later, after = within(app, scenario)
    assert (refused.status, refused.json["error"]["code"], refused.headers["retry-after"]) == (429, "too_many", "1")
    assert (ready.status, later.status, after.status) == (503, 200, 200)
    assert [one.status for one in answered] == [200] * 3


def test_who_is_one_too_many_is_refused_before_a_body_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shopkeeper.service.app.READING", 0)
    app = create_app(folder, Limits(reload=0, waiting=2))
    slow = slowed(app)
    told: list[Any] = []

    async def unread() -> Any:
        raise AssertionError("its body was asked for")

    async def send(message: Any) -> None:
        told.append(message)

    async def scenario() -> Any:
        taken = [asyncio.create_task(ask(app, "/v1/answer", {"n": n})) for n in range(2)]
        await until(lambda: app.state.service.batches.taken == 2)
        scope = {"type": "http", "path": "/v1/answers", "method": "POST", "headers": [], "app": app}
        await app(scope, unread, send)
        figures = await ask(app, "/metrics")  # what is no question is let in
        slow.go.set()
        return [one.status for one in await asyncio.gather(*taken)], figures, await ask(app, "/v1/answer", {"n": 3})

    answered, figures, after = within(app, scenario)
    assert (told[0]["status"], dict(told[0]["headers"])[b"retry-after"]) == (429, b"1")
    assert json.loads(told[1]["body"])["error"]["code"] == "too_many"
    assert (answered, after.status) == ([200, 200], 200)
    assert 'shopkeeper_responses_total{path="/v1/answers",status="429"} 1' in figures.content.decode()
    assert 'shopkeeper_refused_total{code="too_many"} 1' in figures.content.decode()


def test_over_a_socket_each_of_many_connections_is_answered_or_told_when_to_ask_again(folder: Path):
    """Far more connections than may wait: none is closed without a word, and all of them can be used again."""
    app = create_app(folder, Limits(reload=0, waiting=2))
    slow, many = slowed(app), 200
    server = uvicorn.Server(uvicorn.Config(app, **server_settings("127.0.0.1", 0, 1.0)))
    thread = threading.Thread(target=server.run)
    thread.start()
    body = b'{"n": 1}'
    text = b"POST /v1/answer HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n" + body

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(text)
        head = await reader.readuntil(b"\r\n\r\n")
        (length,) = (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(length)
        return head

    async def scenario() -> Any:
        port = server.servers[0].sockets[0].getsockname()[1]
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(many)]
        asked = [asyncio.create_task(one(*connection)) for connection in opened]
        await until(lambda: sum(task.done() for task in asked) == many - 2)
        slow.go.set()
        first = await asyncio.gather(*asked)
        again = [await one(*connection) for connection in opened]
        for _, writer in opened:
            writer.close()
        return first, again

    try:
        asyncio.run(until(lambda: server.started))
        first, again = asyncio.run(scenario())
    finally:
        slow.go.set()
        server.should_exit = True
        thread.join(30)
    refused = [head for head in first if b" 429 " in head.split(b"\r\n")[0]]
    assert len(refused) == many - 2
    assert all(b"retry-after: 1" in head.lower() for head in refused)
    assert all(b" 200 " in head.split(b"\r\n")[0] for head in again)


def test_a_body_that_does_not_come_gives_its_place_to_others(folder: Path):
    app = create_app(folder, Limits(reload=0, arrive=0.05))
    found = asked(app, "/v1/answer", b"", headers={"content-length": "9"}, stalled=True)
    assert (found.status, found.json["error"]["code"]) == (408, "too_slow")


def test_a_client_that_goes_away_in_the_middle_is_no_failure_of_the_service(
    folder: Path, caplog: pytest.LogCaptureFixture
):
    app = create_app(folder, QUIET)

    async def scenario() -> str:
        rest = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]

        async def receive() -> Any:
            return rest.pop(0)

        async def send(message: Any) -> None:
            pass

        headers = [(b"content-type", b"application/json"), (b"content-length", b"9")]
        scope = {"type": "http", "path": "/v1/answer", "method": "POST", "headers": headers, "app": app}
        await app(scope, receive, send)
        return (await ask(app, "/metrics")).content.decode()

    figures = within(app, scenario)
    assert 'shopkeeper_refused_total{code="no_client"} 1' in figures
    assert 'status="500"' not in figures
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_body_with_more_requests_than_may_ever_wait_is_told_so(folder: Path):
    app = create_app(folder, Limits(reload=0, waiting=3))
    found = asked(app, "/v1/answers", {"requests": [{"history": []}] * 4})
    assert (found.status, found.json["error"]["message"]) == (422, "a body has at most 3 requests")
    assert asked(app, "/v1/answers", {"requests": [{"history": []}] * 3}).status == 200


def test_who_stops_answers_what_was_taken_and_takes_no_more(folder: Path):
    app = create_app(folder, Limits(reload=0))
    slow = slowed(app)

    async def scenario() -> Any:
        async with running(app):
            taken = asyncio.create_task(ask(app, "/v1/answer", {"n": 1}))
            await until(lambda: bool(slow.batches))
        return taken.done(), await taken, await ask(app, "/v1/answer", {"n": 2}), await ask(app, "/health/ready")

    threading.Timer(0.2, slow.go.set).start()
    done, taken, late, ready = asyncio.run(scenario())
    assert done
    assert (taken.status, taken.json) == (200, {"said": {"n": 1}})
    assert (late.status, late.json["error"]["code"], ready.status) == (503, "stopping", 503)


def test_a_failing_model_is_an_error_with_a_code_and_the_next_request_is_answered(
    folder: Path, caplog: pytest.LogCaptureFixture
):
    app = create_app(folder, QUIET)
    right = app.state.service.opened.answer

    def broken(said: Any) -> Any:
        app.state.service.opened.answer = right
        raise RuntimeError(f"cannot take {said}")

    async def scenario() -> Any:
        app.state.service.batches.answer = broken
        first = await ask(app, "/v1/answer", {"history": ["secret-sku"]})
        app.state.service.batches.answer = right
        return first, await ask(app, "/v1/answer", {"history": ["i1"]})

    first, second = within(app, scenario)
    assert (first.status, first.json["error"]["code"], second.status) == (500, "failed", 200)
    assert b"secret-sku" not in first.content
    written = [AsJson().format(record) for record in caplog.records]
    failed = json.loads(next(line for line in written if '"failed"' in line))
    assert failed["error"] == "RuntimeError"
    assert failed["at"].startswith("broken:")
    assert "secret-sku" not in " ".join(written)


def test_a_newer_bundle_takes_over_when_its_goldens_pass_and_only_then(
    folder: Path, exported: dict[str, Path], caplog: pytest.LogCaptureFixture
):
    app = create_app(folder, QUIET)
    service, golden = app.state.service, folder / "golden.json"
    first = service.opened.seal
    right = golden.read_text()
    wrong = json.loads(right)
    wrong["requests"][3]["expected"]["items"][0]["score"] += 1
    golden.write_text(json.dumps(wrong))
    seal(folder, json.loads((folder / "manifest.json").read_text()))
    assert not service.opened.look(service.figures)
    assert not service.opened.look(service.figures)
    assert (service.opened.seal, service.figures.reloads["refused"]) == (first, 1)
    (folder / "golden.json").write_text("damaged")
    assert asked(app, "/v1/answer", {"history": ["i2"]}).json["items"][0]["item_id"] == "i2"

    shutil.rmtree(folder)
    assert not service.opened.look(service.figures)  # gone for a moment
    shutil.copytree(exported["popularity"], folder)
    assert service.opened.look(service.figures)
    answer = asked(app, "/v1/answer", {"history": ["i2"]}).json
    assert [i["item_id"] for i in answer["items"]] == [i for i, _ in Bundle.load(folder).recommend([["i2"]])[0]]
    assert asked(app, "/v1/bundle").json["model"] == "popularity"
    assert service.figures.reloads["done"] == 1


def test_how_long_a_newer_bundle_takes_is_not_what_the_one_before_it_took(folder: Path, exported: dict[str, Path]):
    app = create_app(folder, Limits(reload=0.02))
    service, where = app.state.service, list[bool]()

    async def scenario() -> None:
        right, here = service.batches.answer, threading.get_ident()

        def noted(said: Any) -> Any:
            where.append(threading.get_ident() == here)
            return right(said)

        service.batches.answer, service.batches.each = noted, 1e-6
        shutil.rmtree(folder)
        shutil.copytree(exported["popularity"], folder)
        await until(lambda: service.figures.reloads["done"] == 1 and service.batches.each is None)
        assert (await ask(app, "/v1/answer", {"history": ["i2"]})).status == 200

    within(app, scenario)
    assert where == [False]  # a thread, so that nobody else waits for it


def test_a_bundle_of_another_task_never_takes_over(folder: Path):
    app = create_app(folder, QUIET)
    manifest = json.loads((folder / "manifest.json").read_text())
    seal(folder, manifest | {"task": "another"})
    assert not app.state.service.opened.look(app.state.service.figures)
    assert app.state.service.opened.bundle.manifest["task"] == "next_item"


def test_a_bundle_that_answers_wrong_does_not_begin(folder: Path):
    golden = json.loads((folder / "golden.json").read_text())
    golden["requests"][0]["expected"]["items"][0]["score"] += 1
    (folder / "golden.json").write_text(json.dumps(golden))
    seal(folder, json.loads((folder / "manifest.json").read_text()))
    with pytest.raises(UserError, match="golden request 0: rank 1"):
        create_app(folder)


def test_figures_count_responses_refusals_unknown_ids_and_batches(folder: Path):
    app = create_app(folder, QUIET)

    async def scenario() -> Any:
        await ask(app, "/v1/answer", {"history": ["i1", "gone"]})
        await ask(app, "/v1/answer", {"history": 3})
        await ask(app, "/secret/path")
        return await ask(app, "/metrics")

    found = within(app, scenario)
    assert found.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = found.content.decode().splitlines()
    for line in (
        'shopkeeper_responses_total{path="/v1/answer",status="200"} 1',
        'shopkeeper_responses_total{path="/v1/answer",status="422"} 1',
        'shopkeeper_responses_total{path="other",status="404"} 1',
        'shopkeeper_refused_total{code="bad_request"} 1',
        'shopkeeper_bundle_total{what="unknown_items"} 1',
        'shopkeeper_batch_requests_bucket{le="1.0"} 2',
        "shopkeeper_response_seconds_count 2",
        "shopkeeper_ready 1",
    ):
        assert line in lines, line
    assert "secret" not in found.content.decode()


def test_logs_are_json_without_anything_that_was_asked(folder: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "shopkeeper.service")
    asked(create_app(folder, QUIET), "/v1/answer", {"history": ["i1", "secret-sku"], "id": "customer-7"})
    written = [json.loads(AsJson().format(r)) for r in caplog.records if r.name == "shopkeeper.service"]
    assert [one["event"] for one in written] == ["started", "answered", "stopped"]
    assert (written[1]["path"], written[1]["status"]) == ("/v1/answer", 200)
    assert "secret-sku" not in json.dumps(written)
    assert "customer-7" not in json.dumps(written)


def test_openapi_describes_what_this_bundle_takes_and_gives(folder: Path):
    app = create_app(folder, QUIET)
    told = asked(app, "/openapi.json").json
    post = told["paths"]["/v1/answer"]["post"]
    schema = post["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["k"]["maximum"] == 5
    jsonschema.validate({"history": ["i1"]}, schema)
    answer = asked(app, "/v1/answer", {"history": ["i1"]}).json
    jsonschema.validate(answer, post["responses"]["200"]["content"]["application/json"]["schema"])
    refused = asked(app, "/v1/answer", {}).json
    jsonschema.validate(refused, post["responses"]["422"]["content"]["application/json"]["schema"])
    assert asked(app, "/docs").status == 200


@pytest.mark.parametrize("limits", [{"waiting": 0}, {"body": -1}, {"drain": float("nan")}, {"together": True}])
def test_limits_that_are_none_are_refused(limits: dict[str, Any]):
    with pytest.raises(UserError, match="write a number of at least"):
        Limits(**limits)


EVENT = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.sampled_from(["i1"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["item_id", "event_type", "timestamp", "query", "price", "x"]) | st.text(), inner, max_size=4),
    max_leaves=6,
)  # fmt: skip
REQUEST = st.dictionaries(
    st.sampled_from(["history", "as_of", "k", "filter_seen", "exclude", "basket", "id", "requests"]),
    EVENT | st.lists(EVENT, max_size=5), max_size=5,
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(REQUEST | EVENT, min_size=1, max_size=20))
def test_whatever_is_sent_is_answered_or_refused_with_a_code_and_never_fails(exported: dict[str, Path], said: Any):
    app = create_app(exported["recency"], QUIET)

    async def scenario() -> list[Response]:
        several = await ask(app, "/v1/answers", {"requests": said})
        return [several, *[await ask(app, "/v1/answer", one if one is not None else b"null") for one in said]]

    several, *alone = within(app, scenario)
    assert several.status == 200
    assert {one.status for one in alone} <= {200, 422}
    codes = [one.get("error", {}).get("code") for one in several.json["answers"]]
    assert codes == [one.json.get("error", {}).get("code") for one in alone]
    assert set(codes) <= {None, "bad_request"}
