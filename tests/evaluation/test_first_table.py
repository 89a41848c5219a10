"""On the first table of a shop: what was asked for, what is bought again and what is found, and money."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.evaluation.table import summarise
from shopkeeper.models.about import About
from shopkeeper.pipeline.comparing.leaderboard import as_text
from shopkeeper.tasks.next_item import TASK
from tiny import DAY, tiny_prepared

# Everybody's last order is of two lines; half of the customers have bought the first of them before.
AGAIN = [[1, 2, 1, 3], [1, 2, 1, 4]] * 10
NEW = [[1, 2, 5, 3], [2, 1, 5, 4]] * 10


class Always:
    """The same list for everybody."""

    about = About()

    def __init__(self, *items: int):
        self.items = items

    def score(self, requests: Requests) -> np.ndarray:
        scores_BV = np.zeros((len(requests), 6), np.float32)
        for place, item in enumerate(self.items):
            scores_BV[:, item] = 10 - place
        return scores_BV


def shop(folder: Path, **columns: list[list[float]]) -> Split:
    histories = AGAIN + NEW
    times = [[0, DAY, 2 * DAY, 2 * DAY]] * len(histories)
    return tiny_prepared(folder, histories, times, columns=columns)[1]


def first_table(split: Split, filter_seen: bool = False, prepared: Prepared | None = None) -> str:
    """What the terminal shows of two models."""
    tables = {
        name: evaluate_requests(model, split, "validation", k=(2,), filter_seen=filter_seen)
        for name, model in {"repeats": Always(1, 2), "personal_frequency": Always(3, 4)}.items()
    }
    about = {"dataset": "tiny", "split": "s", "protocol": "published", "filter_seen": filter_seen}
    section = {
        "about": TASK,
        "headline": "ndcg@2",
        "confidence": 0.95,
        "names": list(tables),
        "metrics": {name: {**about, "test": summarise(table, resamples=50)} for name, table in tables.items()},
        "tables": tables,
        "comparisons": [],
        "sanity": {"seeds": {}},
    }
    return as_text({"next_item": section})


def test_halves_money_and_baskets_stand_beneath_the_ranking_in_80_columns(tmp_path: Path) -> None:
    n = len(AGAIN + NEW)
    split = shop(tmp_path / "t", order=[[1, 2, 3, 3]] * n, price=[[1.0, 2.0, 12.5, 3.0]] * n)
    text = first_table(split)
    block = text.split("\n\n")[1].splitlines()
    assert " ".join(block[:2]).startswith("Baskets of 1.00 items; 50 % (")
    assert "of what was taken had been taken before." in " ".join(block[:2])
    header = next(line for line in block if line.startswith("model"))
    assert header.split() == ["model", "ndcg_repeat@2", "↑", "ndcg_explore@2", "↑", "revenue@2", "↑"]
    repeats = next(line for line in block if line.startswith("repeats"))
    assert [cell.split()[0] for cell in repeats.split("  ") if cell.strip()] == ["repeats", "0.500", "0.000", "6.25"]
    assert all(len(line) <= 80 for line in block), block


def test_what_the_data_do_not_have_is_not_there(tmp_path: Path) -> None:
    n = len(AGAIN + NEW)
    bare = first_table(shop(tmp_path / "bare"))
    assert "50 % (" in bare
    assert "of what was taken had been taken before" in bare
    assert "revenue" not in bare
    assert "Baskets" not in bare
    once = first_table(shop(tmp_path / "once"), filter_seen=True)  # where nothing is bought again
    assert "taken before" not in once
    assert "ndcg_explore" not in once
    assert "revenue@2" in first_table(shop(tmp_path / "priced", price=[[1.0] * 4] * n), filter_seen=True)


@pytest.mark.parametrize(("in_carts", "said"), [(9, True), (3, False)])
def test_where_most_of_what_was_taken_stood_in_carts_a_high_figure_is_told_what_it_is(
    tmp_path: Path, in_carts: int, said: bool
) -> None:
    histories = [[3, 4, 3 if n < in_carts else 5, 1] for n in range(10)]  # the third is asked for
    kinds = [["add_to_cart", "purchase", "purchase", "purchase"]] * 10
    split = tiny_prepared(tmp_path / "t", histories, event_types=kinds)[1]
    text = " ".join(first_table(split).split())
    assert f"; {10 * in_carts} % (" in text
    assert " stood in the cart." in text
    assert ("A list that repeats the cart is right about these; split=temporal split.targets=all asks" in text) is said
    assert "cart" not in first_table(split, filter_seen=True)  # lists leave out what stands in the cart
    assert "cart" not in first_table(shop(tmp_path / "none"))


def test_what_was_bought_or_taken_out_since_stands_in_the_cart_no_more(tmp_path: Path) -> None:
    kept = (["add_to_cart", "view", "purchase", "purchase"], 1.0)
    again = (["purchase", "add_to_cart", "purchase", "purchase"], 1.0)
    bought = (["add_to_cart", "purchase", "purchase", "purchase"], 0.0)
    out = (["add_to_cart", "remove_from_cart", "purchase", "purchase"], 0.0)
    kinds, share = zip(kept, again, bought, out, strict=True)
    split = tiny_prepared(tmp_path / "t", [[3, 3, 3, 1]] * 4, event_types=list(kinds), n_items=5)[1]
    table = evaluate_requests(Always(1), split, "validation", k=(2,)).sort_by("user_id")
    assert table["in_cart"].to_pylist() == list(share)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_basket_is_the_different_items_of_the_order_that_is_asked_for(tmp_path: Path, part: str) -> None:
    histories = [[1, 2, 3, 4, 5]] * 4
    split = tiny_prepared(tmp_path / "t", histories, columns={"order": [[1, 2, 3, 4, 0]] * 4})[1]
    table = evaluate_requests(Always(1), split, part, k=(2,))
    assert table["basket_size"].to_pylist() == [1.0] * 4
