"""Searches of a simulated shop: beside the same log, each before its look, and no help to those who know the rules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from shopkeeper.pipeline.preparing.split import prepare_to_train
from shopkeeper.pipeline.stages.compose import composed
from shopkeeper.pipeline.told import Train
from shopkeeper.pipeline.told import settings as read_settings
from shopkeeper.recommenders.oracle import Oracle
from shopkeeper.simulated.settings import Simulation
from shopkeeper.simulated.shop import simulate


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The log without searches, the one with them, and the items."""
    root, found = tmp_path_factory.mktemp("searches"), []
    for name, asked in (("plain", False), ("searched", True)):
        simulate(Simulation(preset="demo_shop", seed=6, customers=200, searches=asked), root / name)
        found.append(pq.read_table(root / name / "events.parquet").to_pandas())
    return found[0], found[1], pq.read_table(root / "plain" / "items.parquet").to_pandas()


def test_everything_else_is_the_same_log(logs: tuple[pd.DataFrame, ...]) -> None:
    plain, searched, _ = logs
    others = searched[searched.event_type != "search"].reset_index(drop=True)
    assert others["query"].isna().all()
    pd.testing.assert_frame_equal(others.drop(columns="query"), plain, check_dtype=False)


def test_a_search_stands_right_before_the_look_that_it_is_about(logs: tuple[pd.DataFrame, ...]) -> None:
    _, searched, items = logs
    search = searched[searched.event_type == "search"]
    assert len(search) > 200
    assert search.item_id.isna().all()
    assert search["query"].notna().all()
    looks = searched[searched.session_id.notna()].groupby("session_id", sort=False).nth([0, 1])
    first, second = (looks.groupby("session_id").nth(n).set_index("session_id") for n in (0, 1))
    asked = first[first.event_type == "search"]
    assert len(asked) == len(search)  # every search begins its visit
    then = second.loc[asked.index]
    assert set(then.event_type) == {"view"}
    assert (then.timestamp >= asked.timestamp).all()
    assert (then.timestamp.dt.date == asked.timestamp.dt.date).all()
    category = then.item_id.map(items.set_index("item_id").category)
    named = np.array([q.split()[0] == c for q, c in zip(asked["query"], category, strict=True)])
    assert 0.85 < named.mean() < 0.95  # the rest has a slip
    numbered = asked["query"].str.contains(" ")
    item = items.groupby("category").cumcount() + 1
    right = (
        category[numbered] + " " + then.item_id[numbered].map(dict(zip(items.item_id, item, strict=True))).astype(str)
    )
    assert (asked["query"][numbered] == right).all()


def test_who_knows_the_rules_answers_the_same_with_searches_and_without(tmp_path: Path) -> None:
    answers = []
    for name in ("demo_shop", "demo_shop_searches"):
        words = [f"dataset={name}", "dataset.simulate.customers=120", "model=oracle_observable", "tracking=none"]
        cfg = read_settings(composed("train", [*words, f"paths.prepared={tmp_path}", "progress=false"]), Train)
        prepared, split = prepare_to_train(cfg)
        requests, _ = split.part("test")
        oracle = Oracle()
        oracle.fit(prepared, split, None)  # type: ignore[arg-type]
        ids = prepared.items["item_id"].to_pylist()
        products = [n for n, item in enumerate(ids, start=1) if item.startswith("sku-")]
        by_name = np.argsort([ids[n - 1] for n in products])
        answers.append((len(ids), oracle.score(requests)[:, np.array(products)[by_name]]))
        assert (prepared.queries is None) == (name == "demo_shop")
    (plain_items, plain), (items, searched) = answers
    assert items > plain_items
    np.testing.assert_allclose(searched, plain, rtol=1e-5)
