"""A request of ids alone is answered in few steps, and as all others are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shopkeeper.bundles.answer import Bundle
from shopkeeper.bundles.answer.items import ItemModel
from shopkeeper.bundles.targets.index import write_index
from shopkeeper.errors import UserError

LONGEST = 12  # of the network


@pytest.fixture(scope="module", params=["exact", "index"])
def path(request: pytest.FixtureRequest, graph: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bool]:
    if request.param == "exact":
        return graph, False
    return write_index(graph, tmp_path_factory.mktemp("alone") / "index", "faiss"), True


def both(path: tuple[Path, bool], history: Any, **told: Any) -> tuple[list[Any], list[Any]]:
    """Answers and what was counted: as such a request is answered, and in general, which `exclude` asks for."""
    found = []
    for more in ({}, {"exclude": [[]]}):
        bundle = Bundle.load(path[0], approximate=path[1])
        try:
            said: Any = bundle.answer([history], **told, **more)
        except UserError as e:
            said = str(e)
        found.append([said, +bundle.seen])
    return found[0], found[1]


def test_it_says_and_counts_what_the_general_way_does(path: tuple[Path, bool]):
    rng = np.random.default_rng(0)
    for n in range(60):
        history: list[Any] = [f"i{i}" for i in rng.integers(1, 61, rng.integers(1, 2 * LONGEST))]
        if n % 6 == 5:
            history[int(rng.integers(len(history)))] = ["gone", " i5 ", ["i4", "view"], {"item_id": "i3"}][n % 4]
        told = [{}, {"filter_seen": True}, {"filter_seen": False}, {"k": 3}][n % 4]
        quick, general = both(path, history, **told)
        assert quick == general


def test_what_cannot_be_answered_so_is_asked_in_general(path: tuple[Path, bool]):
    for history, told in (([], {}), ("i1", {}), (["i1", 7], {}), (("i1", "i2"), {}), ([None], {}), ([["i1"]], {}),
                          (["i1"], {"k": 0}), (["i1"], {"k": 11}), (["i1"], {"k": True}), (["i1"], {"k": 2.0}),
                          (["i1"], {"filter_seen": 1}), (["i1", "view"], {})):  # fmt: skip
        quick, general = both(path, history, **told)
        assert quick == general


def test_it_is_of_models_that_read_ids_alone(path: tuple[Path, bool], counts: Path):
    asked = []
    bundle = Bundle.load(path[0], approximate=path[1])
    assert isinstance(bundle.model, ItemModel)
    right = bundle.model.alone
    assert right is not None
    bundle.model.__dict__["alone"] = lambda *told: asked.append(told) or right(*told)
    bundle.recommend([["i1", "i2"]], k=4)
    bundle.recommend([["i1"], ["i2"]])
    bundle.recommend([["i1"]], as_of="2026-03-01")
    bundle.recommend([["i1"]], basket=[["i2"]])
    assert asked == [(["i1", "i2"], 4, None)]
    other = Bundle.load(counts)
    assert isinstance(other.model, ItemModel)
    assert other.model.alone is None  # arrays answer
