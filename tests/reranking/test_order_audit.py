"""The audit of another order: a step that reads more than its request is named, near ties of the model are no alarm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from house import House, small_shop
from shopkeeper.data.requests import Requests
from shopkeeper.models.about import LISTS, About
from shopkeeper.pipeline.comparing.order_audit import audit_steps
from shopkeeper.reranking.lists import Lists
from shopkeeper.reranking.model import Reranked
from shopkeeper.reranking.steps import Asked, Calibrated, Fresh
from shopkeeper.splits.audit_error import AuditError
from tiny import days, tiny_prepared

N = 30
STEPS = [
    {"mmr": {"weight": 0.5}}, {"calibrated": {"weight": 0.5}}, {"fresh": {}}, {"lift": {}}, {"cap": {"most": 4}},
    {"pin": {"items": ["i3"]}},
]  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Any:
    rng = np.random.default_rng(0)
    histories = [rng.integers(1, N + 1, rng.integers(4, 12)).tolist() for _ in range(60)]
    items = {"category": [f"c{i % 5}" for i in range(N)], "margin": (np.arange(N) / N).tolist()}
    place = tmp_path_factory.mktemp("shop")
    return tiny_prepared(place, histories, days(histories), items=items, n_items=N, catalogue=range(1, N + 1))


class Wavers:
    """Says all items alike but for rounding, and rounds differently each time."""

    about = About()

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def score(self, requests: Requests) -> np.ndarray:
        return (1 + 1e-7 * self.rng.random((len(requests), N + 1))).astype(np.float32)


class Lister:
    """Lists the items in one order."""

    about = About(answers=LISTS)

    def recommend(self, requests: Requests, k: int) -> np.ndarray:
        return np.repeat(np.arange(1, min(k, N) + 1, dtype=np.int32)[None], len(requests), axis=0)


@pytest.mark.parametrize("model", [Wavers, Lister])
@pytest.mark.parametrize("seen", [True, False])
def test_honest_steps_pass_though_the_model_breaks_ties_anew_each_time(shop: Any, model: Any, seen: bool) -> None:
    reranked = Reranked(model(), STEPS, shop[1], seen)
    asked = shop[1].part("test")[0]
    if model is Wavers:
        assert (reranked.recommend(asked, 10) != reranked.recommend(asked, 10)).any()
    audit_steps(reranked, "it", shop[1])
    assert isinstance(reranked.model, model)


def reads_the_next_row(self: Any, lists: Lists, asked: Asked) -> Lists:
    item = asked.requests.events.item
    return lists.without(lists.item == item[np.minimum(asked.requests.end, len(item) - 1)][:, None])


def reads_the_row_before(self: Any, lists: Lists, asked: Asked) -> Lists:
    item = asked.requests.events.item
    return lists.valued(
        np.where(lists.item == item[np.maximum(asked.requests.start - 1, 0)][:, None], 9.0, lists.value)
    )


@pytest.mark.parametrize("leak", [reads_the_next_row, reads_the_row_before])
@pytest.mark.parametrize("step", [Calibrated, Fresh])
def test_a_step_that_reads_what_the_request_does_not_hand_out_is_named(
    shop: Any, leak: Any, step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "__call__", leak)
    said = r"the order of it failed: .*\d+ of \d+ lists for test change with rows that the request does not hand out"
    with pytest.raises(AuditError, match=said):
        audit_steps(Reranked(Wavers(), [step.__name__.lower()], shop[1], False), "it", shop[1])


def test_evaluate_audits_each_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    house, here = House(tmp_path), ("dataset=shop", "split=temporal")
    house.dataset("shop", small_shop())
    house.train("runs/shop/next_item/temporal/popularity", "model=popularity", *here)
    words = (*here, "rerank=[fresh]", "report.shuffle=false")
    house.evaluate(*words)
    monkeypatch.setattr(Fresh, "__call__", reads_the_next_row)
    with pytest.raises(AuditError, match=r"popularity\+fresh"):
        house.evaluate(*words)
