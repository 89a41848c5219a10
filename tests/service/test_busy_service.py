"""A service that is at work: who waits, who is refused, who goes away, and what a newer bundle changes under way."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from asgi import QUIET, ask, asked, running, slowed, until, within

from shopkeeper.bundles.answer import Bundle
from shopkeeper.bundles.write.seal import seal
from shopkeeper.cli.serve import server_settings
from shopkeeper.service import Limits, create_app


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
        batches.size = 20
        await ask(app, "/v1/answer", {"history": ["i1"]})
        batches.size, seconds = 20, 0.02
        await ask(app, "/v1/answer", {"history": ["i1"]})  # slower than it was: the next ones have a thread
        return await ask(app, "/v1/answer", {"history": ["i1"]})

    assert within(app, scenario).status == 200
    assert where == [False, True, True, False]


def test_so_many_are_answered_at_once_as_took_no_time_together_lately(folder: Path):
    app = create_app(folder, QUIET)
    right, sizes, each = app.state.service.opened.answer, list[int](), 0.0

    def noted(said: Any) -> Any:
        sizes.append(len(said))
        end = time.thread_time() + each * len(said)
        while time.thread_time() < end:
            pass
        return right(said)

    async def scenario() -> list[int]:
        nonlocal each
        app.state.service.batches.answer, found = noted, []
        for seconds in (0.0, 0.003, 0.003, 0.0001):
            each = seconds
            sizes.clear()
            told = [ask(app, "/v1/answer", {"history": ["i1"]}) for _ in range(12)]
            assert {one.status for one in await asyncio.gather(*told)} == {200}
            found.append(max(sizes))
        return found

    *others, quick_again = within(app, scenario)
    assert others == [12, 12, 1]
    assert quick_again > 1


def test_an_answer_goes_out_before_the_next_call_of_the_model_begins(folder: Path):
    app = create_app(folder, Limits(reload=0, together=1))
    right, told = app.state.service.opened.answer, list[str]()

    def noted(said: Any) -> Any:
        told.append("call")
        return right(said)

    async def one() -> None:
        await ask(app, "/v1/answer", {"history": ["i1"]})
        told.append("answered")

    async def scenario() -> list[str]:
        batches = app.state.service.batches
        batches.answer, batches.size = noted, 20
        await asyncio.gather(*(one() for _ in range(4)))
        return told

    assert within(app, scenario) == ["call", "answered"] * 4


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
    assert "gone" not in [getattr(one, "told", {}).get("outcome") for one in caplog.records]
    for _ in range(3):
        assert not service.opened.look(service.figures)
    assert [getattr(one, "told", {}).get("outcome") for one in caplog.records].count("gone") == 1
    shutil.copytree(exported["popularity"], folder)
    assert service.opened.look(service.figures)
    answer = asked(app, "/v1/answer", {"history": ["i2"]}).json
    assert [i["item_id"] for i in answer["items"]] == [i for i, _ in Bundle.load(folder).recommend([["i2"]])[0]]
    assert asked(app, "/v1/bundle").json["model"] == "popularity"
    assert service.figures.reloads["done"] == 1


def test_a_bundle_whose_seal_was_copied_before_the_rest_takes_over_once_all_of_it_is_there(
    folder: Path, exported: dict[str, Path]
):
    service = create_app(folder, QUIET).state.service
    files = sorted(exported["popularity"].iterdir(), key=lambda one: not one.name.startswith("manifest"))
    for file in files[:2]:
        shutil.copyfile(file, folder / file.name)
    assert not service.opened.look(service.figures)
    assert not service.opened.look(service.figures)
    assert service.figures.reloads["refused"] == 1  # said once
    for file in files[2:]:
        shutil.copyfile(file, folder / file.name)
    assert service.opened.look(service.figures)
    assert service.opened.bundle.manifest["model"] == "popularity"


def test_how_long_a_newer_bundle_takes_is_not_what_the_one_before_it_took(folder: Path, exported: dict[str, Path]):
    app = create_app(folder, Limits(reload=0.02))
    service, where = app.state.service, list[bool]()

    async def scenario() -> None:
        right, here = service.batches.answer, threading.get_ident()

        def noted(said: Any) -> Any:
            where.append(threading.get_ident() == here)
            return right(said)

        service.batches.answer, service.batches.size = noted, 64.0
        shutil.rmtree(folder)
        shutil.copytree(exported["popularity"], folder)
        await until(lambda: service.figures.reloads["done"] == 1 and service.batches.size == 0)
        assert (await ask(app, "/v1/answer", {"history": ["i2"]})).status == 200

    within(app, scenario)
    assert where == [False]  # a thread, so that nobody else waits for it


def test_a_bundle_of_another_task_never_takes_over(folder: Path):
    app = create_app(folder, QUIET)
    manifest = json.loads((folder / "manifest.json").read_text())
    seal(folder, manifest | {"task": "another"})
    assert not app.state.service.opened.look(app.state.service.figures)
    assert app.state.service.opened.bundle.manifest["task"] == "next_item"
