"""Features as a configuration declares them: which there are, in which order, and what is said of a wrong one."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from shopkeeper.data.requests import Events
from shopkeeper.errors import UserError
from shopkeeper.features.customer import known
from shopkeeper.features.customer.compute import GROUPS, customer_features
from shopkeeper.features.customer.declared import USUAL, Affinity, Features, Windows
from shopkeeper.typed import read

CONF = Path(__file__).parents[2] / "conf" / "features"
NOTHING = Events(np.zeros(0, np.int32), np.zeros(0, np.int8), np.zeros(0, np.int64))


def names(declared: Features) -> tuple[str, ...]:
    return customer_features(NOTHING, np.array([0, 0]), np.array([1]), np.array([5]), declared).names


def test_where_nothing_is_said_are_the_features_of_old_runs_and_bundles():
    said = yaml.safe_load((CONF / "usual.yaml").read_text())
    assert read(Features, said) == USUAL == read(Features, {})
    assert USUAL.hash == "65bdbb4e8c9cb47bc16f89570f7856afb6cb217121ba6e812bc67af9c34b93d2"
    assert len(names(USUAL)) == 39


def test_a_declaration_comes_back_from_what_a_manifest_says():
    one = replace(USUAL, gaps=None, looks=None, money=Windows((7,)))
    assert Features.from_json(one.as_json()) == one
    assert one.hash != USUAL.hash == replace(USUAL, name="mine").hash


def test_a_whole_number_with_a_point_is_the_same_declaration():
    one, other = (read(Features, {"category": {"half_life_days": days}}) for days in (90, 90.0))
    assert one.hash == other.hash != USUAL.hash
    assert names(one) == names(other)
    assert Features.from_json(other.as_json()) == one


def test_windows_are_columns_and_what_is_left_out_is_gone():
    told = read(Features, {"money": {"windows": [7]}, "frequency": None, "channels": False})
    assert [name for name in names(told) if name.startswith("money")] == ["money", "money_7d", "money_per_order",
                                                                         "money_returned_share"]  # fmt: skip
    assert not any(name.startswith("orders") for name in names(told))


def test_a_category_whose_name_is_a_number_is_named_as_it_is_written():
    told = read(Features, {"category": {"named": [12, "tea"]}})
    assert told == read(Features, {"category": {"named": ["12", "tea"]}}) == Features.from_json(told.as_json())


def test_every_group_is_computed_and_every_column_has_a_group():
    assert list(GROUPS) == [f.name for f in fields(Features)][1:]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"recensy": True}, r"features.recensy`. Did you mean 'recency'"),
        ({"money": {"windows": []}}, r"features.money.windows is \[\]"),
        ({"money": {"windows": [0]}}, r"features.money.windows\[0\] is 0"),
        ({"price_level": {"levels": 21}}, r"features.price_level.levels is 21; it must be a whole number from 2 to 20"),
        ({"recency": 3}, r"features.recency is 3; it must be true or false"),
    ],
)
def test_a_wrong_declaration_is_one_line(said: dict[str, object], error: str):
    with pytest.raises(UserError, match=error):
        read(Features, said, "features")


def test_nothing_at_all_is_refused():
    with pytest.raises(UserError, match="every group is left out"):
        names(Features.from_json({}))


def test_a_category_named_as_a_feature_is_does_not_take_its_column(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(known, "item_kinds", lambda prepared, name: (np.array([0, 1]), ["newest"]))
    with pytest.raises(UserError, match="category_affinity_newest is another feature already; leave 'newest' out"):
        known._kinds(None, "category", Affinity(named=("newest",)))
