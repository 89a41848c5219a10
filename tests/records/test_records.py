"""The benchmark of published records: what it keeps of a training, and what it says of several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def beside_the_benchmarks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def training(ranks: str, seed: int, peer: str = "", **others: Any) -> dict[str, Any]:
    return {"name": "ml_100k", "peer": peer, "seed": seed, "ranks": ranks, "target_hash": "x", "hours": 0.1, **others}


def test_a_rank_is_kept_as_a_character_and_gives_its_gain_back():
    from records import ranks_of, values

    kept = ranks_of([[1.0], [10.0], [11.0], [None], [2.0]])
    assert kept == "1A..2"
    np.testing.assert_allclose(values(kept, "ndcg@10"), [1, 1 / np.log2(11), 0, 0, 1 / np.log2(3)])
    assert values(kept, "hit@10").tolist() == [1, 1, 0, 0, 1]


def test_a_mean_is_over_customers_and_seeds_and_a_gain_is_paired_by_customer():
    from records import gain_of, mean_of

    rng = np.random.default_rng(0)
    base = rng.integers(0, 2, 400)
    better = np.where(rng.random(400) < 0.1, 1, base)  # some customers more are hit; none less

    def text(hits: np.ndarray) -> str:
        return "".join(".1"[h] for h in hits)

    own, peers = [training(text(better), s) for s in (1, 2)], [training(text(base), s, "without time") for s in (1, 2)]
    found, gain = mean_of(own, "hit@10"), gain_of(own, peers, "hit@10")
    assert found.mean == pytest.approx(better.mean())
    assert found.low < base.mean() < found.mean  # by itself not told apart from the peer's mean
    assert gain.mean == pytest.approx((better - base).mean())
    assert 0 < gain.low < gain.mean < gain.high  # pair by pair it is
    assert gain_of(peers, own, "hit@10").high < 0


def test_trainings_that_were_asked_for_other_items_are_not_averaged():
    from records import mean_of

    with pytest.raises(SystemExit, match="different items"):
        mean_of([training("1.", 1), training("1.", 2, target_hash="y")], "ndcg@10")


def test_a_training_is_kept_as_long_as_its_settings_are_those_of_the_experiment():
    from records import kept, recipe

    now = recipe("ml_100k", "")
    assert now != recipe("ml_100k", "without time") != recipe("ml_100k", "", ["model.width=16"])
    trainings = [training("1", 1, recipe=now), training("1", 2, recipe="another"), training("1", 3, "gone", recipe=now)]
    assert [t["seed"] for t in kept({"trainings": trainings}, [])] == [1]
    assert kept({"trainings": trainings}, ["model.width=16"]) == []


def test_a_setting_that_came_later_changes_a_recipe_only_where_it_is_used():
    from records import RECORDS, kept, recipe

    result = json.loads((ROOT / "benchmarks" / "results" / "records.json").read_text(encoding="utf-8"))
    assert kept(result, []) == result["trainings"], "settings have changed: train anew, or say so in records.SINCE"
    assert {t["name"] for t in result["trainings"]} <= set(RECORDS)
    assert recipe("ml_100k", "") == recipe("ml_100k", "", ["model.item_init=random"])
    assert recipe("ml_100k", "") != recipe("ml_100k", "", ["model.item_init=svd"])


def test_a_seed_that_is_done_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import records

    asked = []

    def trained(name: str, peer: str, seed: int, of: str, more: Any, outputs: Path) -> dict[str, Any]:
        asked.append((peer, seed))
        return training("1.A", seed, peer, recipe=of)

    monkeypatch.setattr(records, "trained", trained)
    for seeds in ([1], [1, 2], [2]):
        records.main(["ml_100k"], seeds, [], None, tmp_path, at_once=2)
    assert asked == [("", 1), ("without time", 1), ("", 2), ("without time", 2)]
    result = json.loads((tmp_path / "records.json").read_text())
    assert [(t["peer"], t["seed"]) for t in result["trainings"]] == asked
    records.main(["ml_100k"], [1], ["model.width=16"], None, tmp_path)  # what was trained is of others
    assert asked[4:] == [("", 1), ("without time", 1)]


def test_what_is_not_trained_yet_is_a_claim_that_falls_short():
    from records import claims_of

    found = {c["what"]: c for c in claims_of([])}
    assert not any(c["holds"] for c in found.values())
    assert {c["issue"] for c in found.values()} == {"zoo"}


def test_the_page_of_records_is_the_one_that_the_committed_result_makes():
    import records

    result = json.loads((ROOT / "benchmarks" / "results" / "records.json").read_text(encoding="utf-8"))
    assert (ROOT / "docs" / "records.md").read_text(encoding="utf-8") == records.page(result), (
        "run `python benchmarks/records.py --page`"
    )
    assert all(r["mean"] == pytest.approx(np.mean(r["values"])) for r in result["rows"])
