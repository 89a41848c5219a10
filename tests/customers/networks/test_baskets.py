"""Baskets as steps of a network: what they hold, that bundles make the same ones, and who reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from customers.toyshop import CUTOFFS, toy_shop
from shopkeeper.bundles.answer.events import Row
from shopkeeper.bundles.answer.graph import in_baskets as as_rows
from shopkeeper.customers.base import Cohort
from shopkeeper.customers.build_cohort import build_cohort
from shopkeeper.customers.networks.gru import GRU
from shopkeeper.customers.networks.mlp import MLP
from shopkeeper.customers.networks.questions import gathered, in_baskets
from shopkeeper.customers.networks.sequence import SequenceCustomerModel
from shopkeeper.customers.networks.transformer import Transformer
from shopkeeper.data.requests import Events
from shopkeeper.errors import UserError
from shopkeeper.metrics.classification import auroc
from shopkeeper.models.fit import Fit
from shopkeeper.nn.networks.gru4rec import GRU4RecNetwork, GRU4RecShape
from shopkeeper.training.config import TrainerConfig
from tiny import DAY

NAN = np.nan
FIT = Fit(seed=1, progress=False, trainer=TrainerConfig(accelerator="cpu", precision="fp32", threads=1))
SMALL: dict[str, Any] = {"width": 8, "max_length": 16, "epochs": 4, "batch_size": 32, "lr": 0.02}
NETWORKS: list[type[SequenceCustomerModel]] = [GRU, Transformer]


def cohort_of(events: Events, start: list[int], end: list[int]) -> Cohort:
    n = len(start)
    return Cohort(
        np.arange(n, dtype=np.int32), np.full(n, 99 * DAY), np.zeros((n, 0)), (), events, np.array(start, np.int64),
        np.array(end, np.int64), np.full(n, 199 * DAY),
    )  # fmt: skip


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> list[Cohort]:
    """Each event of the toy shop as a basket of one to three lines, in thirds of its price."""
    shop = toy_shop(tmp_path_factory.mktemp("shop"), n_users=300)
    train, later, test = (build_cohort(shop, t, 60, 90) for t in CUTOFFS)
    lines = np.random.default_rng(0).integers(1, 4, len(train.events.item))
    place = np.append(0, np.cumsum(lines))

    def cut(cohort: Cohort) -> Cohort:
        columns = {n: None if c is None else np.repeat(c, lines) for n, c in vars(cohort.events).items()}
        columns["price"] = np.repeat(cohort.events.price / lines, lines)
        return replace(cohort, events=Events(**columns), start=place[cohort.start], end=place[cohort.end])

    return [cut(one) for one in (train, later, test)]


def test_a_basket_is_what_follows_each_other_of_one_customer_at_one_time_and_of_one_type():
    events = Events(
        item=np.array([9, 1, 2, 3, 4, 5, 6, 7], np.int32),
        event_type=np.array([5, 5, 5, 6, 5, 5, 5, 1], np.int8),
        timestamp=np.array([1, 1, 1, 1, 2, 2, 2, 2]) * DAY,
        price=np.array([50.0, 1.0, 2.0, 7.0, 10.0, NAN, 3.0, 4.0]),
        quantity=np.array([1.0, 2.0, NAN, -2.0, 0.5, 1.0, 1.0, 0.0]),
    )
    # nobody reads row 0; one customer until two instants, one without a history, one who begins where another ends
    found = in_baskets(cohort_of(events, [1, 1, 6, 6], [4, 6, 6, 8]))
    made, begin, end = found.events, found.start.tolist(), found.end.tolist()
    assert (begin, end) == ([0, 0, 3, 3], [2, 3, 3, 5])
    assert made.item.tolist() == [1, 3, 4, 6, 7]
    assert made.event_type.tolist() == [5, 6, 5, 5, 1]
    assert (made.timestamp // DAY).tolist() == [1, 1, 2, 2, 2]
    assert made.price.tolist() == [4.0, 14.0, 5.0, 3.0, 0.0]
    assert made.quantity.tolist() == [2, 1, 2, 1, 1]
    plain = in_baskets(cohort_of(replace(events, price=None, quantity=None), [1], [6])).events
    assert (plain.price.tolist(), plain.quantity.tolist()) == ([0, 0, 0], [2, 1, 2])
    none = in_baskets(cohort_of(events, [3, 0], [3, 0]))
    assert (none.start.tolist(), none.end.tolist(), len(none.events.item)) == ([0, 0], [0, 0], 0)


@pytest.mark.parametrize("columns", [("price", "quantity"), ("price",), ()])
def test_a_bundle_makes_the_same_baskets_of_a_client_s_events(columns: tuple[str, ...]):
    rng = np.random.default_rng(0)
    n = 400
    events = Events(
        rng.integers(1, 9, n).astype(np.int32), rng.choice([1, 5], n).astype(np.int8), np.sort(rng.integers(0, 80, n)),
        np.where(rng.random(n) < 0.1, NAN, rng.uniform(0, 9, n)),
        np.where(rng.random(n) < 0.1, NAN, rng.integers(-3, 4, n)),
    )  # fmt: skip
    log = replace(events, **{name: None for name in ("price", "quantity") if name not in columns})
    wanted = in_baskets(cohort_of(log, [0], [n])).events
    columns_of = (events.event_type, events.timestamp, events.price, events.quantity)
    rows = [Row("any", *values) for values in zip(*(c.tolist() for c in columns_of), strict=True)]
    found, items = as_rows(rows, events.item.tolist(), columns)
    assert 80 < len(found) < 300
    assert items == wanted.item.tolist()
    for name, of_rows in (("event_type", "event_type"), ("timestamp", "timestamp"), ("quantity", "quantity")):
        assert [getattr(row, of_rows) for row in found] == getattr(wanted, name).tolist()
    np.testing.assert_allclose([row.price for row in found], wanted.price, rtol=1e-12)


def test_so_many_baskets_are_read_as_events_would_be(cohorts: list[Cohort]):
    train = cohorts[0]
    found = gathered(train, 3, ("timestamp", "price", "quantity"), baskets=True)
    for row in range(0, len(train), 7):
        days, first = np.unique(train.events.timestamp[train.start[row] : train.end[row]], return_index=True)
        here = slice(max(found.start[row], found.end[row] - 3), found.end[row])
        assert found.columns["timestamp"][here].tolist() == days[-3:].tolist()
        lines = np.diff(np.append(first, train.end[row] - train.start[row]))
        assert found.columns["quantity"][here].tolist() == lines[-3:].tolist()
    assert len(found.item) < len(gathered(train, 3 * 3, ("timestamp",)).item)


@pytest.mark.parametrize("made", NETWORKS)
def test_a_network_learns_from_what_baskets_come_to_and_not_from_items(
    made: type[SequenceCustomerModel], cohorts: list[Cohort], tmp_path: Path
):
    train, later, test = (replace(c, label=c.events.price[c.end - 1] * _lines(c) > 10.0) for c in cohorts)
    train, later, test = (replace(c, label=c.label.astype(float)) for c in (train, later, test))
    model = made(**{**SMALL, "epochs": 12})
    model.fit(train, later, FIT)
    said = model.predict(test).probability
    assert auroc(test.label, said) > 0.95
    other = replace(test.events, item=np.roll(test.events.item, 3))
    np.testing.assert_array_equal(model.predict(replace(test, events=other)).probability, said)
    assert {"price", "quantity"} <= set(model.about.reads)
    model.save(tmp_path)
    opened = made(**SMALL)
    opened.load(tmp_path)
    np.testing.assert_array_equal(opened.predict(test).probability, said)
    alone = made(**{**SMALL, "epochs": 12, "steps": "events"})
    alone.fit(train, later, FIT)
    assert auroc(test.label, alone.predict(test).probability) < 0.8


def _lines(cohort: Cohort) -> np.ndarray:
    """How many lines the last basket of each row has."""
    at = gathered(cohort, 99, ("timestamp", "quantity"), baskets=True)
    lines: np.ndarray = at.columns["quantity"][at.end - 1]
    return lines


class NoField(SequenceCustomerModel):
    """A network whose shape knows no baskets."""

    format, network_class, shape_class = "test.none/1", GRU4RecNetwork, GRU4RecShape


def test_baskets_are_read_where_nothing_speaks_against_it_and_refused_where_something_does(cohorts: list[Cohort]):
    train = cohorts[0]
    sessions = replace(train, session=np.zeros((len(train), 1), np.int64))
    other = replace(FIT, init_from=Path("run"))
    for made, settings, cohort, fit, why in (
        (GRU, {"rare": 5}, train, FIT, "no one item"),
        (GRU, {}, sessions, FIT, "may lie within a basket"),
        (Transformer, {}, train, other, "init_from"),
        (NoField, {}, train, FIT, "has no field baskets"),
    ):
        rare = settings.get("rare")
        assert made(**{**SMALL, **settings})._in_baskets(cohort, rare, fit) is False
        with pytest.raises(UserError, match=rf"model\.steps=baskets: .*{why}.*; set it to auto"):
            made(**{**SMALL, **settings, "steps": "baskets"})._in_baskets(cohort, rare, fit)
    assert GRU(**SMALL)._in_baskets(train, None, FIT) is True
    assert GRU(**SMALL, steps="events")._in_baskets(train, None, FIT) is False
    with pytest.raises(UserError, match=r"model\.steps"):
        GRU(**SMALL, steps="orders")
    with pytest.raises(UserError, match=r"no setting model\.steps"):
        MLP(steps="baskets")
    with pytest.raises(UserError, match=r"no setting model\.baskets"):
        GRU(**SMALL, baskets=True)
