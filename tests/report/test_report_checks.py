"""The report says what is wrong or missing, and gives equal runs, told models and seeds the place they deserve."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from figured import churners, recommenders

from browser import console_errors
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.evaluation.leaderboard import leaderboard
from shopkeeper.evaluation.report import write_report
from shopkeeper.evaluation.report.checks import sanity_rows
from shopkeeper.evaluation.report.gather import board, gather
from shopkeeper.evaluation.report.page import render
from shopkeeper.evaluation.report.words import answer
from shopkeeper.evaluation.seeds import over_seeds
from shopkeeper.evaluation.settings import Report
from shopkeeper.evaluation.table import metadata_of

FAST = Report(resamples=100)
Shop = tuple[Prepared, Split]


def section(shop: Shop, shares: Mapping[str, Any], **sanity: Any) -> dict[str, Any]:
    """A section as `pipeline.evaluate` hands it over, checks made from its tables."""
    found = recommenders(shop, shares)
    boards = leaderboard(found["tables"], "ndcg@10", split=shop[1], resamples=100)
    curves = {m["name"]: m["coverage_curve"] for b in boards["boards"] for m in b["models"]}
    found["sanity"] = {"checks": boards["sanity"], "coverage_curves": curves, **sanity}
    return found


@pytest.fixture(scope="module")
def found(shop: Shop) -> dict[str, Any]:
    return section(shop, {"sasrec": 0.6, "item_knn": 0.3, "popularity": 0.0})


def rows(found: Mapping[str, Any], baseline: str = "popularity", **changes: Any) -> dict[str, tuple[str, str]]:
    """Check -> finding and state."""
    made = board({**found, "sanity": {**found["sanity"], **changes}}, replace(FAST, baseline=baseline))
    return {check: (finding, state) for check, finding, state in made.sanity}


def worth(difference: float, low: float, high: float, winner: str | None) -> dict[str, Any]:
    return {"metric": "ndcg@10", "difference": difference, "low": low, "high": high, "winner": winner}


def plain(html: str) -> str:
    return unescape(re.sub(r"<[^>]+>", "", html))


def test_what_the_order_of_a_history_is_worth_is_said_for_each_model(found: dict[str, Any]) -> None:
    shuffled = {
        "sasrec": worth(0.05, 0.04, 0.06, "as it was"),
        "item_knn": worth(-0.02, -0.03, -0.01, "shuffled"),
        "popularity": worth(0.0, 0.0, 0.0, None),
    }
    made = rows(found, shuffled=shuffled)
    text, state = made["Does order matter? Each history shuffled when asked"]
    assert text.split("\n") == [
        "SASRec: loses 0.050 NDCG@10 (0.040 to 0.060)",
        "Item-kNN: gains 0.020 NDCG@10 (0.010 to 0.030)",
        "Popularity: no difference; it does not look at the order",
    ]
    assert state == "good"
    text, state = made["… and the model trained again on shuffled histories"]
    assert "`shopkeeper evaluate 'report.retrain=[sasrec]'`" in text
    assert state == "note"
    again = {"sasrec": worth(0.001, -0.01, 0.012, None)}
    text, _ = rows(found, shuffled=shuffled, retrained=again)["… and the model trained again on shuffled histories"]
    assert text == "SASRec: no clear difference (−0.010 to 0.012 NDCG@10)"


def test_order_that_says_nothing_to_the_best_model_is_worth_knowing(found: dict[str, Any]) -> None:
    made = rows(found, shuffled={"sasrec": worth(0.0, -0.01, 0.01, None)})
    assert made["Does order matter? Each history shuffled when asked"][1] == "note"
    assert rows(found)["Does order matter? Each history shuffled when asked"][0].startswith("not run")


def test_empty_answers_and_unseen_targets_are_counted_and_twice_listed_items_stand_at_the_top(
    found: dict[str, Any],
) -> None:
    made = rows(found)
    assert made["Requests without an answer"] == ("none, by any model", "good")
    checks = {name: dict(c) for name, c in found["sanity"]["checks"].items()}
    checks["item_knn"]["unanswered"] = 0.25
    checks["sasrec"]["lists_with_duplicates"] = 0.5
    for c in checks.values():
        c["cold_targets"] = 0.125
    made = rows(found, checks=checks)
    assert made["Requests without an answer"] == ("Item-kNN: 25.0%\ngot an empty list", "note")
    assert made["Targets that are in no training data"][0].startswith("12.5% of 320;")
    assert made["Lists that hold an item twice"][1] == "bad"
    broken = board({**found, "sanity": {"checks": checks}}, FAST)
    assert "Look at this first. Lists that hold an item twice: SASRec: 50.0%" in plain(
        " ".join(answer(broken).paragraphs)
    )
    assert "Look at this first" not in " ".join(answer(board(found, FAST)).paragraphs)


def test_a_table_without_a_baseline_or_with_another_than_the_one_that_was_asked_for_says_so(
    found: dict[str, Any],
) -> None:
    name = "Simple baselines are in the table"
    assert rows(found)[name] == ("Popularity", "good")
    assert "not “recency”" in rows(found, "recency")[name][0]
    missing = "no popularity baseline is in the table: `shopkeeper train model=popularity` makes one in seconds"
    assert rows(found, missing_baselines=missing)[name] == (missing, "note")


def test_the_gap_to_the_other_split_is_shown_or_how_to_get_it(found: dict[str, Any]) -> None:
    gap = {
        "models": {
            "sasrec": {"leave_one_out": {"value": 0.4}, "temporal": {"value": 0.2}},
            "item_knn": {"leave_one_out": {"value": 0.3}, "temporal": {"value": 0.25}},
        },
        "reversed": [["sasrec", "item_knn"]],
        "statement": "the highest NDCG@10 is that of sasrec under leave-one-out, of item_knn in time",
    }
    text, state = rows(found, split_gap=gap)["Leave-one-out against a split in time"]
    assert text.startswith("SASRec: 0.400 against 0.200\nItem-kNN: 0.300 against 0.250\nthe highest NDCG@10 is that of")
    assert "of SASRec under leave-one-out, of Item-kNN in time" in text
    assert state == "note"
    text, _ = rows(found, split_gap={"not_run": "`shopkeeper train split=temporal` makes one"})[
        "Leave-one-out against a split in time"
    ]
    assert text.startswith("not run: `shopkeeper train")


def test_the_baseline_of_the_config_is_the_one_that_the_best_is_set_beside(shop: Shop) -> None:
    found = recommenders(shop, {"sasrec": 0.9, "gru4rec": 0.6, "item_knn": 0.3, "popularity": 0.0})
    text = plain(" ".join(answer(board(found, replace(FAST, baseline="item_knn"))).paragraphs))
    assert "SASRec is better than Item-kNN" in text
    assert "SASRec is better than Popularity" not in text
    text = plain(" ".join(answer(board(found, FAST)).paragraphs))
    assert "SASRec is better than Popularity" in text
    assert "SASRec is better than Item-kNN" not in text


def test_a_model_that_was_told_the_moment_is_no_rival_and_stands_apart(shop: Shop) -> None:
    shares = {"hstu": 0.9, "sasrec": 0.5, "popularity": 0.0, "oracle_observable": 0.95}
    found = section(shop, shares, uses_instant=["hstu", "oracle_observable"])
    made = board(found, FAST)
    assert [m.name for m in made.models] == ["sasrec", "popularity", "hstu", "oracle_observable"]
    assert plain(answer(made).headline) == "SASRec recommends best"
    html = render(gather({"next_item": found}, FAST))
    assert html.index("no rivals of theirs") < html.index("HSTU")
    alone = section(shop, {"hstu": 0.9, "oracle_observable": 0.95}, uses_instant=["hstu", "oracle_observable"])
    assert [m.name for m in board(alone, FAST).rivals] == ["hstu"]


def test_a_slice_in_which_the_winner_loses_is_pointed_out_in_the_answer_and_one_that_chance_explains_is_not(
    shop: Shop,
) -> None:
    short = shop[1].part("test")[0].lengths < 20
    losing = recommenders(shop, {"sasrec": np.where(short, 0.0, 1.0), "item_knn": np.where(short, 0.6, 0.0)})
    html = render(gather({"next_item": losing}, FAST))
    top = plain(html[html.index('<section id="answer"') : html.index('<section id="board-next_item"')])
    assert re.search(r"For whom not\? .*events before the request 5-19 \(\d+\): Item-kNN is better", top)
    close = recommenders(shop, {"sasrec": np.where(short, 0.45, 0.9), "item_knn": np.where(short, 0.5, 0.2)})
    text = plain(" ".join(answer(board(close, FAST)).paragraphs))
    assert "another model significantly better" in text
    assert "is better" not in text.split("For whom not?")[1]


def test_runs_that_cannot_be_told_from_the_best_are_marked(shop: Shop) -> None:
    html = render(gather({"next_item": recommenders(shop, {"sasrec": 0.5, "item_knn": 0.49, "popularity": 0})}, FAST))
    assert html.count("not told apart from the best") == 1


def test_several_seeds_of_a_model_have_a_row_with_mean_and_spread(shop: Shop) -> None:
    found = recommenders(shop, {"sasrec#1": 0.5, "sasrec#2": 0.6, "popularity": 0.0})
    tables = [
        found["tables"][n].replace_schema_metadata(_with_seed(found["tables"][n], s))
        for s, n in enumerate(["sasrec#1", "sasrec#2"])
    ]
    row = over_seeds(tables, "ndcg@10").as_dict() | {"seeds": ["1", "2"]}
    found["sanity"] = {"seeds": {"sasrec": row}}
    made = board(found, FAST).seeds[0]
    assert made.mean.value == pytest.approx(np.mean(row["per_seed"]))
    assert made.spread == pytest.approx(np.std(row["per_seed"], ddof=1))
    html = render(gather({"next_item": found}, FAST))
    assert "Over seeds" in html
    assert "SASRec (seed 2)" in html


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.01, 0.03, "SASRec is better than GRU4Rec by 0.020 NDCG@10 (0.010 to 0.030)"),
     (-0.03, -0.01, "GRU4Rec is better than SASRec by 0.020 NDCG@10 (0.010 to 0.030)"),
     (0.0001, 0.0003, "SASRec is better than GRU4Rec by 0.00020 NDCG@10 (0.00010 to 0.00030)"),
     (-0.01, 0.05, "SASRec and GRU4Rec cannot be told apart (−0.010 to 0.050)")],
)  # fmt: skip
def test_two_models_are_compared_over_their_seeds_in_words(
    found: dict[str, Any], low: float, high: float, said: str
) -> None:
    row = {"mean": 0.3, "low": 0.2, "high": 0.4, "n_users": 320, "seeds": ["1", "2"], "spread": 0.01}
    row |= {"from_users": 1.0, "from_seeds": 0.0}
    ahead = {"gru4rec": {"mean": (low + high) / 2, "low": low, "high": high, "n_users": 320}}
    seeds = {"sasrec": {**row, "ahead_of": ahead}, "gru4rec": row}
    html = render(gather({"next_item": {**found, "sanity": {"seeds": seeds}}}, FAST))
    assert f"Over seeds, {said}." in html


def _with_seed(table: Any, seed: int) -> dict[bytes, bytes]:
    return {b"shopkeeper": json.dumps({**metadata_of(table), "seed": seed}).encode()}


def test_gains_and_lift_are_those_of_the_probabilities(shop: Shop) -> None:
    found = churners(shop)
    made = board(found, FAST)
    assert [g.model for g in made.gains] == ["logistic"]  # one probability for everybody has no order
    table = found["tables"]["logistic"]
    label, p = table["label"].to_numpy(), table["probability"].to_numpy()
    top = np.argsort(-p, kind="stable")[: len(p) // 10]
    assert made.gains[0].gain[0] == pytest.approx(label[top].sum() / label.sum())
    assert made.gains[0].lift[0] == pytest.approx(label[top].mean() / label.mean())
    assert "Lift by tenth" in render(gather({"churn": found}, FAST))


def test_no_checks_no_section(found: dict[str, Any]) -> None:
    assert sanity_rows({}, [], "popularity") == []
    without = {k: v for k, v in found.items() if k != "sanity"}
    assert "sanity-next_item" not in render(gather({"next_item": without}, FAST))


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_with_all_of_it_opens_without_a_console_message(
    shop: Shop,
    tmp_path: Path,
    width: int,
) -> None:
    sasrec = section(shop, {"sasrec": 0.5, "hstu": 0.7, "popularity": 0.0}, uses_instant=["hstu"])
    page = write_report(tmp_path, gather({"next_item": sasrec, "churn": churners(shop)}, replace(FAST, customers=3)))
    html = page.read_text(encoding="utf-8")
    for part in ("sanity-next_item", "gains-churn", "Coverage by number of requests"):
        assert part in html
    assert console_errors(page, width) == []
