"""The service answers as the bundle does, refuses with a code what it cannot take, and says nothing of anybody."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from asgi import QUIET, Response, ask, asked, within
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shopkeeper.bundles.answer import Bundle
from shopkeeper.bundles.write.seal import seal
from shopkeeper.errors import UserError
from shopkeeper.service import Limits, create_app
from shopkeeper.service.logs import AsJson


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
