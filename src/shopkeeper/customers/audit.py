"""The leak audit of cohorts: who is asked, what was known and what is asked for, counted anew on a sample of rows.

The checks read the log row by row, without the code that made the cohort where that is possible; the features are
computed again for customers whose log ends at the cutoff.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from shopkeeper.customers.base import Cohort
from shopkeeper.customers.build_cohort import Truth, features_of, stayed_away
from shopkeeper.customers.folds import rows_of
from shopkeeper.customers.subjects import KNOWN, Subjects, pair_features
from shopkeeper.customers.window import ALIVE, DISCOUNT, LINES, MONEY, NEW, RETURNS, WAIT
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Events
from shopkeeper.features.customer.block import MONEY_UNIT
from shopkeeper.features.customer.declared import bound
from shopkeeper.features.customer.known import shop_of
from shopkeeper.features.customer.shop import LEAST_OFF, numbered_anew
from shopkeeper.schema import EVENT_TYPES, MICROSECONDS_PER_DAY, event_codes
from shopkeeper.splits.audit_error import AuditError
from shopkeeper.timeline import iso

SAMPLE = 64
THEN = "Mend the cohort or the feature: only what lies strictly before the cutoff is known"


def audit_cohort(
    prepared: Prepared,
    cohort: Cohort,
    active_days: float | None,
    events: Sequence[str] = ("purchase",),
    truth: Truth = stayed_away,
    of: str = LINES,
) -> None:
    """Check a cohort that was built from `prepared` alone; `truth` and `of`: as `build_cohort` was told.

    Raises:
        AuditError: with every violation, each naming a customer and a cutoff.
    """
    p, ts, rng = prepared, prepared.events.timestamp, np.random.default_rng(0)
    assert ts is not None
    start, end, cutoff = cohort.start, cohort.end, cohort.cutoff
    last = np.maximum(end - 1, 0)
    after, following = p.offsets[cohort.customer], np.minimum(end, len(ts) - 1)
    late = (end > start) & (ts[last] >= cutoff)
    early = (start != p.offsets[cohort.customer - 1]) | ((end < after) & (ts[following] < cutoff))
    found = [
        f"the history of {what}, e.g. that of customer {cohort.customer[rows[0]]} at {iso(cutoff[rows[0]])}"
        for what, rows in (
            (f"{late.sum()} customers goes on at or after the cutoff", np.flatnonzero(late)),
            (f"{early.sum()} customers lacks events before the cutoff", np.flatnonzero(early)),
        )
        if len(rows)
    ]
    if not found:
        rows = np.sort(rng.permutation(len(cohort))[:SAMPLE])
        codes = np.asarray(event_codes(tuple(events)), np.int8)
        found += _asked(p, cohort, rows, active_days, codes, truth, of) + _forgotten(
            p, cohort, active_days, codes, rng, truth, of
        )
        found += _features(p, cohort, rows)
    if found:
        raise AuditError(p.name, found, "the customers of", THEN)


def _times(p: Prepared, customer: int, codes: np.ndarray) -> np.ndarray:
    """Instants of one customer's target events."""
    rows = slice(int(p.offsets[customer - 1]), int(p.offsets[customer]))
    assert p.events.timestamp is not None
    return np.asarray(p.events.timestamp[rows])[np.isin(p.events.event_type[rows], codes)]


def _asked(
    p: Prepared, cohort: Cohort, rows: np.ndarray, active_days: float | None, codes: np.ndarray, truth: Truth, of: str
) -> list[str]:
    """Customers of the sample who were not active, or whose label says something else than the log."""
    horizon = round(cohort.horizon_days * MICROSECONDS_PER_DAY)
    found = []
    for row in rows:
        customer, t = int(cohort.customer[row]), int(cohort.cutoff[row])
        at = _times(p, customer, codes)
        since = np.iinfo(np.int64).min if active_days is None else t - round(active_days * MICROSECONDS_PER_DAY)
        if not ((at >= since) & (at < t)).any():
            found.append(f"customer {customer} is asked about at {iso(t)} and was not active before")
        held = _held(p, customer, t, t + horizon, of, codes)
        if cohort.label is not None and cohort.label[row] != truth(np.array([held]))[0]:
            found.append(f"the label of customer {customer} at {iso(t)} is not what the log says")
    return found[:1]


def _held(p: Prepared, customer: int, since: int, until: int, of: str, codes: np.ndarray) -> float:
    """What one customer's window holds, row by row."""
    e = p.events
    if of == LINES:
        at = _times(p, customer, codes)
        return int(((at >= since) & (at < until)).sum())
    if of in APART:
        return APART[of](p, customer, since, until)
    begun, orders, money = set[tuple[str, int]](), set[tuple[str, int]](), 0
    for row in range(int(p.offsets[customer - 1]), int(p.offsets[customer])):
        assert e.timestamp is not None
        time, kind = int(e.timestamp[row]), EVENT_TYPES[int(e.event_type[row]) - 1]
        if kind not in ("purchase", "return") or time >= until:
            continue
        number = 0 if e.order is None else int(e.order[row])
        if kind == "purchase":
            (orders if time >= since else begun).add(("order", number) if number else ("time", time))
        if time >= since:
            price = 0.0 if e.price is None else float(np.nan_to_num(e.price[row]))
            units = 1.0 if e.quantity is None else float(np.nan_to_num(np.abs(e.quantity[row]), nan=1.0))
            money += round(price * units / MONEY_UNIT) * (1 if kind == "purchase" else -1)
    return max(money, 0) * MONEY_UNIT if of == MONEY else len(orders - begun)


def _purchases(p: Prepared, customer: int, until: int) -> list[int]:
    """Rows of a customer's purchases before an instant, oldest first."""
    assert p.events.timestamp is not None
    return [
        row
        for row in range(int(p.offsets[customer - 1]), int(p.offsets[customer]))
        if EVENT_TYPES[int(p.events.event_type[row]) - 1] == "purchase" and p.events.timestamp[row] < until
    ]


def _returned(p: Prepared, customer: int, since: int, until: int) -> float:
    at = _times(p, customer, np.asarray(event_codes(("return",)), np.int8))
    return int(((at >= since) & (at < until)).sum())


def _new(p: Prepared, customer: int, since: int, until: int) -> float:
    """How many items are bought in the window that were not bought before it."""
    rows = _purchases(p, customer, until)
    assert p.events.timestamp is not None
    before = {int(p.events.item[row]) for row in rows if p.events.timestamp[row] < since}
    return len({int(p.events.item[row]) for row in rows} - before)


def _at_a_discount(p: Prepared, customer: int, since: int, until: int) -> float:
    """The share of the window's purchases below what the item had cost at most until then."""
    e, told = p.events, []
    assert e.timestamp is not None
    rows = [row for row in _purchases(p, customer, until) if e.timestamp[row] >= since]
    if e.price is None or not rows:
        return np.nan
    bought = (e.event_type == event_codes(("purchase",))[0]) & np.isin(e.item, e.item[rows])
    item, time, price = (np.asarray(column[bought]) for column in (e.item, e.timestamp, e.price))
    for row in rows:
        earlier = price[(item == e.item[row]) & (time < e.timestamp[row]) & (price > 0)]
        if e.price[row] > 0 and len(earlier):
            told.append(bool(e.price[row] <= earlier.max() * (1 - LEAST_OFF)))
    return sum(told) / len(told) if told else np.nan


def _waited(p: Prepared, customer: int, since: int, until: int) -> float:
    assert p.events.timestamp is not None
    first = [int(p.events.timestamp[row]) for row in _purchases(p, customer, until) if p.events.timestamp[row] >= since]
    return (min([*first, until]) - since) / MICROSECONDS_PER_DAY


def _bought(p: Prepared, customer: int, since: int, until: int) -> float:
    assert p.events.timestamp is not None
    return len([row for row in _purchases(p, customer, until) if p.events.timestamp[row] >= since])


# What windows hold beside lines, orders and money, counted row by row.
APART = {RETURNS: _returned, NEW: _new, DISCOUNT: _at_a_discount, WAIT: _waited, ALIVE: _bought}


def _forgotten(
    p: Prepared,
    cohort: Cohort,
    active_days: float | None,
    codes: np.ndarray,
    rng: np.random.Generator,
    truth: Truth,
    of: str,
) -> list[str]:
    """An active customer who is not asked about: dropping them would flatter a model."""
    if p.consent is not None:  # who is left out is counted in `left_out`
        return []
    some = rng.integers(1, p.n_users + 1, SAMPLE)
    for t in np.unique(cohort.cutoff)[-1:]:
        asked = set(cohort.customer[cohort.cutoff == t].tolist())
        since = np.iinfo(np.int64).min if active_days is None else t - round(active_days * MICROSECONDS_PER_DAY)
        for customer in some.tolist():
            at = _times(p, customer, codes)
            if customer not in asked and ((at >= since) & (at < t)).any():
                horizon = round(cohort.horizon_days * MICROSECONDS_PER_DAY)
                if np.isnan(truth(np.array([_held(p, customer, int(t), int(t) + horizon, of, codes)]))[0]):
                    continue  # its window does not say what is asked
                return [f"customer {customer} was active before {iso(t)} and is not asked about"]
    return []


def _features(p: Prepared, cohort: Cohort, rows: np.ndarray) -> list[str]:
    """Features that are others where a customer's log ends at the cutoff."""
    start, end = cohort.start[rows], cohort.end[rows]
    lengths = end - start
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    kept = np.arange(offsets[-1]) + np.repeat(start - offsets[:-1], lengths)
    columns: dict[str, Any] = {n: None if column is None else column[kept] for n, column in vars(p.events).items()}
    events = Events(**columns)
    until_then, then = p.part(offsets, events), np.empty_like(cohort.features[rows])
    for cutoff in np.unique(cohort.cutoff[rows]).tolist():  # of the shop, too, nothing is known from then on
        some = np.flatnonzero(cohort.cutoff[rows] == cutoff)
        known = replace(_ending(p, cutoff), consent=p.consent) if cohort.declared.reads_shop else p
        shop = numbered_anew(shop_of(known, cohort.declared, np.array([cutoff])), cohort.customer[rows])
        table = features_of(until_then, some + 1, cohort.cutoff[rows][some], bound(cohort.declared, shop=shop))
        if table.names != cohort.feature_names:
            return ["the features have other names when nothing follows the cutoff"]
        then[some] = table.values
    differ = ~((then == cohort.features[rows]) | (np.isnan(then) & np.isnan(cohort.features[rows])))
    names = [name for name, wrong in zip(cohort.feature_names, differ.any(axis=0), strict=True) if wrong]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    changed = (
        f"{', '.join(names[:5])}{more} of {differ.any(axis=1).sum()} customers change with what follows the cutoff"
    )
    return [changed] if names else []


def audit_pairs(prepared: Prepared, cohort: Cohort, subjects: Subjects, truth: Truth) -> None:
    """Check the pairs of a cohort that was itself checked: labels row by row, features on a log that ends there.

    Raises:
        AuditError: naming the customer, or the features.
    """
    p, e, rng, found = prepared, prepared.events, np.random.default_rng(0), list[str]()
    assert e.timestamp is not None
    assert cohort.subject is not None
    some = np.sort(rng.permutation(len(cohort))[:SAMPLE])
    for row in some.tolist() if cohort.label is not None else ():
        customer, t = int(cohort.customer[row]), int(cohort.cutoff[row])
        until = t + round(cohort.horizon_days * MICROSECONDS_PER_DAY)
        rows = [one for one in _purchases(p, customer, until) if e.timestamp[one] >= t]
        n = sum(int(subjects.of_item[e.item[one]]) == int(cohort.subject[row]) for one in rows)
        assert cohort.label is not None
        if cohort.label[row] != truth(np.array([n]))[0]:
            about = subjects.names[int(cohort.subject[row]) - 1]
            found = [f"the label of customer {customer} and '{about}' at {iso(t)} is not what the log says"]
    n_known = len(cohort.feature_names) - len(KNOWN)
    for cutoff in np.unique(cohort.cutoff[some]).tolist():
        rows = some[cohort.cutoff[some] == cutoff]
        until_then = _ending(p, cutoff)
        who = cohort.customer[rows]
        asked = replace(rows_of(cohort, rows), start=until_then.offsets[who - 1], end=until_then.offsets[who])
        pairs = pair_features(until_then, asked, subjects).reshape(len(rows), len(subjects.names), -1)
        now, said = pairs[np.arange(len(rows)), cohort.subject[rows] - 1], cohort.features[rows, n_known:]
        wrong = ~((now == said) | (np.isnan(now) & np.isnan(said))).all(axis=0)
        if wrong.any():
            names = ", ".join(np.array(KNOWN)[wrong])
            found.append(f"{names} change with what follows the cutoff ({iso(cutoff)})")
    if found:
        raise AuditError(p.name, found, "the customers of", THEN)


def _ending(p: Prepared, cutoff: int) -> Prepared:
    """The dataset with no event at or after an instant."""
    assert p.events.timestamp is not None
    kept = np.flatnonzero(p.events.timestamp < cutoff)
    columns: dict[str, Any] = {n: None if column is None else column[kept] for n, column in vars(p.events).items()}
    return p.part(np.searchsorted(kept, p.offsets), Events(**columns))
