"""The leaderboard: best first, who is as good, separate boards, and what a reader must know."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from shopkeeper.evaluation.compare import compare_family
from shopkeeper.evaluation.leaderboard import leaderboard
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.models.about import About
from tiny import cycle_histories, tiny_prepared


class Noisy:
    """Scores the true next item first with the given chance, else at random."""

    def __init__(self, chance: float, seed: int, uses_instant: bool = False):
        self.chance, self.seed, self.about = chance, seed, About(reads_instant=uses_instant)

    def score(self, requests):
        rng = np.random.default_rng(self.seed)
        score = rng.random((len(requests), 31)).astype(np.float32)
        following = requests.last_items(1)[:, 0] % 30 + 1
        score[np.arange(len(requests)), following] += rng.random(len(requests)) < self.chance
        return score


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    _, split = tiny_prepared(tmp_path_factory.mktemp("board") / "t", cycle_histories(400, 30, 5))
    models = {"good": Noisy(0.8, 1), "as_good": Noisy(0.8, 2), "poor": Noisy(0.2, 3), "told_when": Noisy(0.9, 4, True)}
    tables = {n: evaluate_requests(m, split, metadata={"model": n}, batch_size=400) for n, m in models.items()}
    return tables, leaderboard(tables, "ndcg@10", split=split)


def test_models_stand_best_first_and_those_as_good_are_marked(made):
    _, board = made
    models = board["boards"][0]["models"]
    assert {m["name"] for m in models[:2]} == {"good", "as_good"}
    assert [m["like_the_best"] for m in models] == [True, True, False]
    assert models[0]["metrics"]["ndcg@10"]["value"] >= models[1]["metrics"]["ndcg@10"]["value"]
    json.dumps(board, allow_nan=False)


def test_a_model_that_reads_the_instant_stands_on_its_own_board(made):
    _, board = made
    assert [b["uses_instant"] for b in board["boards"]] == [False, True]
    assert [m["name"] for m in board["boards"][1]["models"]] == ["told_when"]


def test_the_reader_is_told_what_is_missing(made):
    _, board = made
    assert "model=popularity" in board["notes"][0]
    assert board["sanity"]["good"]["requests"] == 400


def test_coverage_is_shown_at_every_number_of_requests(made):
    curve = made[1]["boards"][0]["models"][0]["coverage_curve"]
    assert curve["n"][-1] == 400


def test_figures_and_comparisons_that_are_there_already_are_taken_as_they_are(made, monkeypatch):
    tables, board = made
    known = {m["name"]: m["metrics"] for b in board["boards"] for m in b["models"]}
    found = compare_family(tables, ["ndcg@10"])
    for name in ("summarise", "compare_family"):
        monkeypatch.setattr(
            f"shopkeeper.evaluation.leaderboard.{name}", lambda *_, **__: pytest.fail("resampled again")
        )
    assert leaderboard(tables, "ndcg@10", found=found, summary=known)["boards"] == board["boards"]


def test_the_headline_alone_says_who_is_like_the_best(made):
    tables, board = made
    known = {m["name"]: m["metrics"] for b in board["boards"] for m in b["models"]}
    found = compare_family(tables, ["ndcg@10"])
    opposite = [replace(c, metric="revenue@10", difference=-c.difference) for c in found]  # the poor model earns most
    assert leaderboard(tables, "ndcg@10", found=found + opposite, summary=known)["boards"] == board["boards"]
