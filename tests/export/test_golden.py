"""What travels with a bundle as an example belongs to nobody, and still shows every kind of question."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from shopkeeper.bundles.answer import Bundle, verify
from shopkeeper.bundles.answer.events import write_instant
from shopkeeper.bundles.write import export_bundle, golden
from shopkeeper.bundles.write.golden import Case
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.customers.base_rate import BaseRate
from shopkeeper.customers.build_cohort import build_cohort
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.base import untyped_event
from shopkeeper.recommenders.counting.popularity import Popularity
from shopkeeper.recommenders.item_pairs.ease import EASE
from shopkeeper.recommenders.knn.item_knn import ItemKNN
from shopkeeper.recommenders.networks.sasrec import SASRec
from tiny import DAY, cycle_histories, days, tiny_prepared

Shop = tuple[Prepared, Split]


def runs_of(prepared: Prepared) -> set[tuple[str, ...]]:
    """Every run of three items or more of every customer: all events, and those of each type."""
    found = set()
    events, ids = prepared.events, prepared.items["item_id"].to_pylist()
    for first, last in zip(prepared.offsets[:-1], prepared.offsets[1:], strict=True):
        for kind in (None, *set(events.event_type[first:last].tolist())):
            rows = [r for r in range(first, last) if kind is None or events.event_type[r] == kind]
            items = [ids[events.item[r] - 1] for r in rows]
            found |= {tuple(items[a:b]) for a in range(len(items)) for b in range(a + 3, len(items) + 1)}
    return found


def exported(shop: Shop, out: Path, golden: int = 40) -> list[dict]:
    model = ItemKNN()
    model.fit(*shop, Fit())
    export_bundle(model, *shop, MadeFrom(model="item_knn"), out, golden=golden)
    assert verify(out).ok
    return json.loads((out / "golden.json").read_text())["requests"]


def plain(history: list) -> list[str]:
    return [event if isinstance(event, str) else event[0] for event in history]


def check_nobody(shop: Shop, requests: list[dict]) -> None:
    known, real = set(shop[0].items["item_id"].to_pylist()), runs_of(shop[0])
    for request in requests:
        items = plain(request["history"])
        assert tuple(items) not in real
        assert tuple(i for i in items if i in known) not in real


def test_no_golden_history_is_a_run_of_a_customers_history(shop: Shop, tmp_path: Path) -> None:
    check_nobody(shop, exported(shop, tmp_path / "bundle"))


@pytest.mark.parametrize("histories", [cycle_histories(30, 3, 12), [[1] * 9] * 5, [[1, 2] * 6, [2, 1, 1, 2, 2, 2, 1]]])
def test_nor_where_there_are_hardly_any_other_histories(histories: list[list[int]], tmp_path: Path) -> None:
    shop = tiny_prepared(tmp_path / "tiny", histories, days(histories))
    check_nobody(shop, exported(shop, tmp_path / "bundle"))


def test_golden_requests_show_every_kind_of_question(shop: Shop, tmp_path: Path) -> None:
    requests = exported(shop, tmp_path / "bundle")
    known = set(shop[0].items["item_id"].to_pylist())
    assert requests[0]["history"] == []
    assert any(set(plain(r["history"])) - known for r in requests), "unknown ids"
    assert any(r["history"] and isinstance(r["history"][0], str) for r in requests), "without types"
    assert {e[1] for r in requests for e in r["history"] if isinstance(e, list)} == {"view", "purchase"}
    assert any(r["exclude"] for r in requests)
    assert max(len(r["history"]) for r in requests) >= 250
    assert {r["filter_seen"] for r in requests} == {True, False}


def test_a_thousand_requests_of_every_odd_kind_are_compared_before_a_bundle_is_written(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Case] = []
    right = golden.answer
    monkeypatch.setattr(golden, "answer", lambda bundle, cases: asked.extend(cases) or right(bundle, cases))
    exported(shop, tmp_path / "bundle")
    assert len(asked) == 1000
    odd = {
        "empty": [case for case in asked if not case.items],
        "without types": [case for case in asked if not case.typed],
        "unknown ids": [case for case in asked if case.strangers],
        "items to leave out": [case for case in asked if case.exclude],
        "longer than is read": [case for case in asked if len(case.items) >= 300],
        "seen items are left out": [case for case in asked if case.filter_seen],
    }
    assert {kind for kind, cases in odd.items() if cases} == {*odd}
    assert min(len(odd[kind]) for kind in ("without types", "unknown ids", "items to leave out")) >= 70


def test_excluded_items_of_a_golden_request_are_not_expected(shop: Shop, tmp_path: Path) -> None:
    for request in exported(shop, tmp_path / "bundle"):
        assert not set(request["exclude"]) & {e["item_id"] for e in request["expected"]["items"]}


def test_golden_customers_of_a_churn_bundle_do_not_exist(tmp_path: Path) -> None:
    """Everybody buys at the same hour of the same days: none of these instants may be handed on."""
    histories = [[1, 2, 1, 2]] * 30 + [[1, 2, 1]] * 30
    prepared, _ = tiny_prepared(tmp_path / "tiny", histories, days(histories))
    cohort = build_cohort(prepared, 2 * DAY + 1, 1, None, observed_until=4 * DAY)
    model = BaseRate()
    model.fit(cohort, cohort, Fit(seed=0))
    out = export_bundle(model, prepared, cohort, MadeFrom(model="base_rate", task="churn"), tmp_path / "bundle")
    requests = json.loads((out / "golden.json").read_text())["requests"]
    times = [event["timestamp"] for request in requests for event in request["history"]]
    real = {write_instant(int(t)) for t in prepared.events.timestamp}
    assert len(times) > 100
    assert not set(times) & real
    assert {r["expected"]["reason"] for r in requests} >= {"", "no history before the cutoff"}
    assert any(e["item_id"] == "unknown-item" for r in requests for e in r["history"])
    assert any("event_type" not in e for r in requests for e in r["history"])
    assert any(e["timestamp"] >= r["as_of"] for r in requests for e in r["history"])
    assert verify(out).ok


def test_an_event_without_a_type_is_the_same_for_the_model_and_its_bundle(shop: Shop, tmp_path: Path) -> None:
    """Two thirds of the log are views: taking the commonest type here and a purchase there gave two answers."""
    model = SASRec(width=8, blocks=1, max_length=10, epochs=1)
    model.fit(*shop, Fit(progress=False))
    bundle = Bundle.load(export_bundle(model, *shop, MadeFrom(model="sasrec"), tmp_path / "bundle", golden=5))
    assert bundle.manifest["history"]["usual_type"] == untyped_event(model, ()) == "purchase"
    assert bundle.recommend([["i1", "i4"]]) == bundle.recommend([[["i1", "purchase"], ["i4", "purchase"]]])
    assert bundle.recommend([["i1", "i4"]]) != bundle.recommend([[["i1", "view"], ["i4", "view"]]])


def test_an_event_without_a_type_counts_as_one_that_the_model_reads(shop: Shop) -> None:
    assert untyped_event(Popularity(), ["rating"]) == "rating"
    assert untyped_event(ItemKNN(event_weights={"view": 1.0}), ["purchase"]) == "view"
    assert untyped_event(EASE(event_types=["view", "purchase"]), ["purchase"]) == "purchase"
    reads_targets = SASRec(width=8, blocks=1, max_length=10, epochs=1, inputs="targets")
    reads_targets.fit(*shop, Fit(progress=False, target_events=("view",)))
    assert untyped_event(reads_targets, ["view"]) == "view"
    knn = ItemKNN(event_weights={"view": 1.0})
    knn.fit(*shop, Fit())
    assert not np.array_equal(
        knn.score(Requests.from_histories([[1]], [[1]])), knn.score(Requests.from_histories([[]]))
    )
