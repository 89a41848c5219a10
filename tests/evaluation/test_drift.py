"""What has moved and what drives a score; what messages with lists bring."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from shopkeeper.evaluation.drift import shifts, stability_index, told_apart
from shopkeeper.evaluation.drivers import drivers
from shopkeeper.evaluation.money import compare_money, message_curve, money_metric
from shopkeeper.evaluation.profit import Profit
from shopkeeper.models.shares import Contributions

RNG = np.random.default_rng


def test_the_stability_index_is_the_sum_over_bins_with_half_a_row_in_each() -> None:
    # Edge 1 is the median of 0 0 1 1: bins of then hold 4 rows up to 1 and none above, of now one and three.
    then, now = np.array([0.0, 0.0, 1.0, 1.0, np.nan]), np.array([0.0, 2.0, 2.0, 2.0, np.nan])
    q, p = np.array([2.5, 2.5, 0.5, 1.5]), np.array([1.5, 0.5, 3.5, 1.5])  # <= 0, <= 1, above, unknown
    q, p = q / q.sum(), p / p.sum()
    found, _ = stability_index(then, now, bins=4)
    assert found == pytest.approx(float(((p - q) * np.log(p / q)).sum()))


def test_features_that_have_not_changed_stay_below_what_chance_explains_in_19_of_20_cases() -> None:
    rng, above = RNG(0), 0
    for _ in range(300):
        n, m = rng.normal(size=400), rng.normal(size=250)
        psi, chance = stability_index(n, m)
        above += psi > chance
    assert 4 <= above <= 28  # 15 expected


def test_the_feature_that_moved_most_comes_first_and_what_became_unknown_counts() -> None:
    rng = RNG(1)
    then = rng.normal(size=(500, 3))
    now = rng.normal(size=(400, 3)) + np.array([0.0, 1.5, 0.0])
    now[:200, 2] = np.nan
    found = shifts(then, now, ["same", "moved", "unknown"])
    assert [s.feature for s in found][-1] == "same"
    assert [s.moved for s in found] == [True, True, False]
    gone = next(s for s in found if s.feature == "unknown")
    assert (gone.unknown_then, gone.unknown_now) == (0.0, 0.5)


def test_a_classifier_tells_then_from_now_only_where_they_differ_and_never_by_knowing_the_customer() -> None:
    rng = RNG(2)
    who = np.arange(600)
    trait = rng.normal(size=(600, 1))  # of the customer, then and now
    alike = told_apart(trait, trait + rng.normal(0, 0.01, (600, 1)), who, who, ["trait"])
    assert alike is not None
    assert alike.low <= 0.5 <= alike.high
    other = told_apart(trait, trait + 1.0, who, who, ["trait"])
    assert other is not None
    assert other.low > 0.7  # two normal distributions one apart: 0.76
    assert other.by == ("trait",)
    assert told_apart(trait[:20], trait, who[:20], who, ["trait"]) is None


def test_drivers_are_those_that_move_the_score_most_whichever_way() -> None:
    value = np.array([[1.0, 5.0, 0.0], [2.0, 1.0, 0.0], [3.0, 9.0, 0.0], [np.nan, 2.0, 0.0]])
    share = np.array([[-3.0, 0.5, 0.0], [-1.0, -0.5, 0.0], [3.0, -0.5, 0.0], [1.0, 0.5, 0.0]])
    found = drivers(Contributions(0.1, share), value, ["a", "b", "c"])
    assert [(d.feature, d.moves) for d in found] == [("a", 2.0), ("b", 0.5)]
    assert found[0].share == pytest.approx(0.8)
    assert found[0].direction == 1
    turned = drivers(Contributions(0.1, -share), value, ["a", "b", "c"])
    assert turned[0].direction == -1


def table(name: str, earned: list[float], score: list[float | None]) -> pa.Table:
    n = len(earned)
    lists = [[] if s is None else [s, s / 2] for s in score]
    return pa.table({
        "request": list(range(n)), "user": list(range(1, n + 1)), "user_id": [f"u{i}" for i in range(n)],
        "instant": pa.array([0] * n, pa.timestamp("us", tz="UTC")), "revenue@10": earned,
        "top_scores": pa.array(lists, pa.list_(pa.float32())),
    }).replace_schema_metadata({"shopkeeper": f'{{"model": "{name}"}}'})  # fmt: skip


OWN = Profit("EUR", 100.0, 5.0, 2.0, 0.2)


def test_messages_go_out_by_the_score_of_the_first_item_and_the_best_share_is_found() -> None:
    found = message_curve(
        table("m", [10.0, 8.0, 0.0, 0.0, 4.0], [0.9, 0.8, 0.2, 0.1, None]), "revenue@10", OWN, resamples=50
    )
    assert found is not None
    assert found.n == 4  # who has no list gets no message
    assert found.everybody.profit == pytest.approx(10 + 8 - 4 * 2)
    assert found.best.profit == pytest.approx(10 + 8 - 2 * 2)
    assert found.best.share == pytest.approx(0.5)
    assert np.isnan(found.threshold)
    assert message_curve(table("m", [0.0, 0.0], [1.0, 2.0]), "revenue@10", OWN) is None
    few = Profit("EUR", 100.0, 5.0, 2.0, 0.2, capacity=1)
    least = message_curve(table("m", [10.0, 8.0, 0.0, 0.0], [0.9, 0.8, 0.2, 0.1]), "revenue@10", few, resamples=50)
    assert least is not None
    assert least.best.profit == pytest.approx(8.0)  # the first alone


def test_the_metric_in_money_is_the_first_that_all_tables_have() -> None:
    a = table("a", [1.0], [1.0])
    assert money_metric({"a": a}, ("margin@{k}", "revenue@{k}"), 10) == "revenue@10"
    assert money_metric({"a": a, "b": a.drop_columns(["revenue@10"])}, ("revenue@{k}",), 10) == ""
    assert compare_money({"a": a}, "revenue@10") == []


def test_differences_in_money_are_paired_and_one_hundredth_of_the_best_matters() -> None:
    rng = RNG(3)
    base = rng.gamma(1.0, 20.0, 400)
    one, two = (table(n, x.tolist(), [1.0] * 400) for n, x in (("one", base), ("two", base + rng.normal(3, 1, 400))))
    (found,) = compare_money({"one": one, "two": two}, "revenue@10", resamples=500)
    assert found.winner == "two"
    assert found.difference == pytest.approx(3, abs=0.2)
    assert found.smallest_effect == pytest.approx(0.01 * float(np.mean(two["revenue@10"].to_numpy())), rel=0.2)
    assert len(f"{found.smallest_effect:g}") <= 4  # a round figure, since it is said
