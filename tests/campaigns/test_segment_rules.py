"""Segments by rule and by likeness, against hand-made customers whose segment is known."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from shopkeeper.campaigns.segments import clusters, rules
from shopkeeper.campaigns.segments.clusters import group
from shopkeeper.campaigns.segments.rules import fifths, lifecycle, rfm, usual_gap, value_tiers
from shopkeeper.campaigns.segments.settings import Clusters, Lifecycle, Segmentation, Value
from shopkeeper.errors import UserError
from shopkeeper.typed import read


@pytest.mark.parametrize("module", [rules, clusters])
def test_the_examples_in_the_docstrings_are_true(module: object):
    found = doctest.testmod(module)  # type: ignore[arg-type]
    assert found.attempted > 0
    assert found.failed == 0


def test_fifths_of_many_different_values_are_even_and_equals_are_never_split():
    rng = np.random.default_rng(0)
    assert np.bincount(fifths(rng.permutation(1000).astype(float)))[1:].tolist() == [200] * 5
    values = rng.integers(0, 4, 500).astype(float)
    score = fifths(values)
    assert all(len(set(score[values == v])) == 1 for v in range(4))
    assert (np.diff([score[values == v][0] for v in range(4)]) >= 0).all()
    assert fifths(values, best_is_low=True)[np.argmin(values)] == score.max()


def customers(orders: list[list[float]], at: float = 100.0) -> dict[str, np.ndarray]:
    """Features of customers who ordered on these days, as of day `at`."""
    gaps = [np.diff(days) for days in orders]
    return {
        "orders": np.array([float(len(days)) for days in orders]),
        "days_since_order": np.array([at - days[-1] if days else np.nan for days in orders]),
        "gap_mean": np.array([g.mean() if len(g) else np.nan for g in gaps]),
        "gap_last": np.array([g[-1] if len(g) else np.nan for g in gaps]),
    }


def test_late_is_late_for_the_customer_and_not_for_the_shop():
    weekly, monthly = [30, 37, 44, 51, 58, 65, 72, 79], [-41, -11, 19, 49, 79]  # both silent for 21 days
    people = customers([weekly, monthly, [95], [60], [], [10, 12, 14, 94]])
    own = Lifecycle(weight=0.0)  # their own gaps alone
    assert lifecycle(people, own, shop_gap=10.0).tolist() == [
        "lapsed",  # 21 days at a gap of 7 are 3
        "active",  # at a gap of 30 .7
        "new",  # 5 days of the shop's 10
        "lapsed",  # 40 of them: no longer new
        "no order yet",
        "lapsed",  # won back after 80 days at a gap of 2; since then 6 are three such gaps
    ]
    assert lifecycle(people, Lifecycle(weight=2.0), 10.0)[0] == "at risk"  # (7 x 7 + 2 x 10) / 9 = 7.67: 2.7 gaps


def test_who_came_back_from_a_lapse_is_won_back_until_late_again():
    def kind(last: float) -> str:
        return str(lifecycle(customers([[0, 10, 20, 80 - last]], at=80.0), Lifecycle(weight=0.0), 10.0)[0])

    assert [kind(5), kind(14.9), kind(15), kind(29.9)] == ["won back", "won back", "at risk", "at risk"]
    assert kind(30) == "lapsed"  # the gap before it is 30 then: three usual ones, and as long ago
    assert kind(31) == "at risk"  # the gap before it was 29, one like others: the mean is 16.3 then


def test_the_shops_gap_is_that_of_its_customers_or_the_settings():
    people = customers([[0, 10], [0, 20], [0, 60], [5]])
    assert usual_gap(people, Lifecycle()) == 20
    assert usual_gap(people, Lifecycle(usual_days=7.0)) == 7
    with pytest.raises(UserError, match=r"set segmentation\.lifecycle\.usual_days"):
        usual_gap(customers([[1], [2]]), Lifecycle())


def test_value_is_net_of_what_came_back_and_equals_share_a_tier():
    people = {**customers([[1], [2], [3]]), "money": np.array([100.0, 100.0, 30.0])}
    people["money_returned_share"] = np.array([np.nan, 0.9, 0.0])
    assert rfm(people, has_money=True)["money"].tolist() == [5, 1, 3]
    assert rfm(people, has_money=True)["rfm"][0] == "R1F3M5"
    assert "money" not in rfm(people, has_money=False)
    assert value_tiers(np.full(7, 3.0), Value()).tolist() == ["top"] * 7
    assert value_tiers(np.zeros(3), Value()).tolist() == ["none"] * 3


def planted(n: int, apart: float, seed: int) -> dict[str, np.ndarray]:
    """Three kinds of customers: many small orders, few large ones, long gone."""
    rng = np.random.default_rng(seed)
    kind = np.arange(n) % 3
    centre = {"orders": (20, 3, 3), "money_per_order": (10, 90, 10), "days_since_order": (20, 20, 300)}
    found = {name: np.exp(np.log(np.array(c, float)[kind]) * apart + rng.normal(0, 0.15, n))
             for name, c in centre.items()}  # fmt: skip
    return {**found, "gap_mean": np.full(n, np.nan), "kind": kind}


def test_planted_groups_are_found_counted_and_named():
    found = group(planted(600, 1, 0), [planted(500, 1, 1)], Clusters())
    assert found.stable
    assert len(found.names) == 3
    assert found.stability[3]["stability"] > 0.99
    assert found.stability[6]["stability"] < 0.8
    label = found.of_customers(planted(300, 1, 2))
    by_kind = [set(label[k::3]) for k in range(3)]
    assert all(len(names) == 1 for names in by_kind)
    words = [next(iter(names)) for names in by_kind]
    assert "many orders" in words[0]
    assert words[1].startswith("large orders")
    assert words[2].startswith("long since the last order")


def test_where_there_are_no_groups_that_is_said():
    found = group(planted(600, 0, 0), [planted(500, 0, 1)], Clusters(stable=0.9))
    assert not found.stable
    assert max(float(s["stability"] or 0) for s in found.stability.values()) < 0.9


def test_a_group_is_the_same_whoever_else_is_asked_about_and_too_few_are_refused():
    found, people = group(planted(600, 1, 0), [], Clusters()), planted(90, 1, 5)
    some = {name: values[:7] for name, values in people.items()}
    assert found.of_customers(some).tolist() == found.of_customers(people)[:7].tolist()
    assert found.stability[3]["cutoffs"] is None
    with pytest.raises(UserError, match="30 customers have ordered, too few for 2 groups of 20"):
        group(planted(30, 1, 0), [], Clusters())


@pytest.mark.parametrize(
    "block", [{"lifecycle": {"at_risk": 4.0}}, {"value": {"top": 0.8}}, {"clusters": {"least": 9}}]
)
def test_settings_that_contradict_each_other_are_named(block: dict[str, object]):
    with pytest.raises(UserError, match=r"segmentation\.\w+\.\w+=\S+ must lie below segmentation\."):
        read(Segmentation, block, "segmentation").check()
    read(Segmentation, {}, "segmentation").check()
