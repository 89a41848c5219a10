"""Asked of a session after its n-th event: will something be bought in what is left of it?

Rows are sessions of a log, asked right after their n-th event, unless something was bought in them by then. Known are
the customer as he was when the session began, and the session's first n events, row by row of the log: events of one
time stamp stay in the order of the file, and no later one of them is seen.

Shapes: M events of the log, n rows (sessions).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from shopkeeper.customers.base import Cohort
from shopkeeper.customers.build_cohort import NobodyAskedError, features_of
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Events
from shopkeeper.data.session_rows import LaidOut
from shopkeeper.errors import UserError
from shopkeeper.features.customer.declared import USUAL, Features, bound
from shopkeeper.features.customer.known import shop_of, without_lacking
from shopkeeper.features.customer.shop import numbered_anew
from shopkeeper.features.session_begun import KNOWN, session_features
from shopkeeper.schema import EVENT_CODE, EVENT_TYPES, MICROSECONDS_PER_DAY
from shopkeeper.splits.audit_error import AuditError
from shopkeeper.splits.rules import sessions
from shopkeeper.timeline import iso

SAMPLE = 64


def build_sessions(
    prepared: Prepared,
    starts: Sequence[int],
    horizon_days: float,
    *,
    after: int,
    gap_minutes: float,
    observed_until: int,
    labels: bool = True,
    declared: Features = USUAL,
) -> Cohort:
    """The sessions that begin in [start, start + horizon) of any start, each asked after its n-th event.

    Rows are ordered by their n-th event's place in the log. Left out and counted are sessions with fewer events, with a
    purchase by then, or whose last event lies at or after the end of their window: their rest is not wholly observed.
    `cutoff` is the instant of the n-th event.

    Args:
        prepared: the dataset.
        starts: of the windows, µs UTC.
        horizon_days: length of a window.
        after: n.
        gap_minutes: longer silence begins another session, where the log does not say which session a row is of.
        observed_until: the log is complete before this instant.
        labels: False for sessions that may still go on at the end of `starts` + horizon.
        declared: which features of the customer.

    Raises:
        UserError: a window beyond the log.
        NobodyAskedError: no session that is asked about.
    """
    e = prepared.events
    if e.timestamp is None:
        raise UserError(
            f"sessions need time stamps, and dataset={prepared.name} has only an order; use another dataset"
        )
    horizon = round(horizon_days * MICROSECONDS_PER_DAY)
    laid = LaidOut.of(e, prepared.event_user, gap_minutes)
    order, first, length = laid.order, laid.first, laid.length
    begin, finish = e.timestamp[order[first]], e.timestamp[order[first + length - 1]]
    here, until = np.zeros(len(first), bool), np.zeros(len(first), np.int64)
    for start in starts:
        if labels and start + horizon > observed_until:
            raise UserError(
                f"the sessions of {horizon_days:g} days from {iso(start)} end after the log is complete "
                f"({iso(observed_until)}); choose an earlier start or a shorter horizon_days"
            )
        inside = (begin >= start) & (begin < start + horizon)
        here |= inside
        until[inside] = np.maximum(until[inside], start + horizon)
    left_out: Counter[str] = Counter()
    bought = e.event_type[order] == EVENT_CODE["purchase"]
    running = np.concatenate([[0], np.cumsum(bought)])
    for reason, kept in (
        (f"sessions of fewer than {after} events", length >= after),
        ("sessions with a purchase by then", running[np.minimum(first + after, len(order))] == running[first]),
        ("sessions that go on after their window", finish < until),
    ):
        if labels or not reason.endswith("window"):
            left_out[reason] = int((here & ~kept).sum())
            here &= kept
    chosen = _agreeing(prepared, order, first, length, np.flatnonzero(here), after, left_out)
    if not len(chosen):
        raise NobodyAskedError(
            f"no session of {after} events or more without a purchase begins in {horizon_days:g} days from "
            f"{', '.join(iso(t) for t in starts[-3:])}; choose a longer horizon_days, or fewer task.after_events",
            left_out,
        )
    asked = order[first[chosen] + after - 1]
    chosen = chosen[np.argsort(asked, kind="stable")]
    rows_nK = laid.first_rows(chosen, after)
    label = (running[first[chosen] + length[chosen]] > running[first[chosen]]).astype(np.float64) if labels else None
    return _cohort(prepared, rows_nK, label, observed_until, float(horizon_days), left_out, gap_minutes, declared)


def _agreeing(
    p: Prepared,
    order: np.ndarray,
    first: np.ndarray,
    length: np.ndarray,
    chosen: np.ndarray,
    after: int,
    left_out: Counter[str],
) -> np.ndarray:
    """Those of the sessions whose customers agree after their n-th event and until they end; others are counted."""
    if p.consent is None or not len(chosen):
        return chosen
    assert p.events.timestamp is not None
    asked, last = (p.events.timestamp[order[first[chosen] + place]] for place in (after - 1, length[chosen] - 1))
    user = p.event_user[order[first[chosen]]]
    agrees = p.consent.holds(user, asked)
    agrees[agrees] = p.consent.next_end(user[agrees], asked[agrees]) > last[agrees]
    left_out["sessions without consent"] += int((~agrees).sum())
    return np.asarray(chosen[agrees])


def _cohort(
    prepared: Prepared,
    rows_nK: np.ndarray,
    label: np.ndarray | None,
    observed_until: int,
    horizon_days: float,
    left_out: Counter[str],
    gap_minutes: float,
    declared: Features,
) -> Cohort:
    """Rows for sessions whose first events are these rows of the log, (n, K)."""
    e = prepared.events
    assert e.timestamp is not None
    customer = prepared.event_user[rows_nK[:, 0]]
    began = e.timestamp[rows_nK[:, 0]]
    declared = without_lacking(declared, prepared)
    table = features_of(prepared, customer, began, declared)
    start, end = prepared.offsets[customer - 1], rows_nK[:, -1] + 1
    known = session_features(e, rows_nK, start, prepared.zone)
    return Cohort(
        customer=customer,
        cutoff=np.asarray(e.timestamp[rows_nK[:, -1]]),
        features=np.column_stack([table.values, known]),
        feature_names=(*table.names, *KNOWN),
        events=e,
        start=start,
        end=end,
        observed_until=np.full(len(customer), observed_until, np.int64),
        label=label,
        horizon_days=horizon_days,
        left_out={reason: n for reason, n in left_out.items() if n},
        declared=declared,
        session=rows_nK,
        gap_minutes=gap_minutes,
    )


def audit_sessions(prepared: Prepared, cohort: Cohort, gap_minutes: float) -> None:
    """Look at some rows once more: the label event by event, the features on a log that ends with the n-th event.

    Raises:
        AuditError: naming the customer, or the features.
    """
    e, rng, found = prepared.events, np.random.default_rng(0), list[str]()
    assert e.timestamp is not None
    assert cohort.session is not None
    session_row = sessions(prepared, gap_minutes)
    began = e.timestamp[cohort.session[:, 0]]
    shop = shop_of(prepared, cohort.declared, began)  # audited with customers
    for row in np.sort(rng.permutation(len(cohort))[:SAMPLE]).tolist():
        customer, rows = int(cohort.customer[row]), cohort.session[row]
        who = f"customer {customer} at {iso(int(cohort.cutoff[row]))}"
        own = range(int(prepared.offsets[customer - 1]), int(prepared.offsets[customer]))
        members = [one for one in own if session_row[one] == session_row[rows[0]]]
        if members[: len(rows)] != rows.tolist() or cohort.end[row] != rows[-1] + 1:
            found.append(f"the session of {who} is not asked after its first {len(rows)} events")
        bought = [EVENT_TYPES[int(e.event_type[one]) - 1] == "purchase" for one in members]
        if any(bought[: len(rows)]):
            found.append(f"something was bought in the session of {who} before it is asked about")
        if cohort.label is not None and cohort.label[row] != float(any(bought[len(rows) :])):
            found.append(f"the label of the session of {who} is not what the log says")
        kept = np.union1d(np.arange(own.start, rows[0]), rows)
        columns: dict[str, Any] = {n: None if c is None else np.asarray(c[kept]) for n, c in vars(e).items()}
        until_then = prepared.part(np.array([0, len(kept)]), Events(**columns))
        place = np.searchsorted(kept, rows)[None, :]
        declared = bound(cohort.declared, shop=numbered_anew(shop, np.array([customer])))
        known = features_of(until_then, np.array([1]), e.timestamp[rows[:1]], declared).values
        now = np.append(known, session_features(until_then.events, place, np.zeros(1, np.int64), prepared.zone))
        wrong = ~((now == cohort.features[row]) | (np.isnan(now) & np.isnan(cohort.features[row])))
        if wrong.any():
            names = ", ".join(np.array(cohort.feature_names)[wrong][:5])
            found.append(f"{names} of {who} change with what follows the event after which is asked")
    if found:
        raise AuditError(
            prepared.name, found[:3], "the sessions of", "Mend the cohort: only what was seen by then counts"
        )


def open_sessions(
    prepared: Prepared, at: int, *, after: int, gap_minutes: float, observed_until: int, declared: Features = USUAL
) -> Cohort:
    """The newest session of each customer that goes on at an instant: of n events or more, asked after the n-th.

    It has ended when its last event lies longer back than `gap_minutes`, and is not asked about once something was
    bought. Nothing from the instant on is read.

    Raises:
        UserError: there is no such session.
    """
    e = prepared.events
    if e.timestamp is None:
        raise UserError(
            f"sessions need time stamps, and dataset={prepared.name} has only an order; use another dataset"
        )
    kept = np.flatnonzero(e.timestamp < at)
    columns: dict[str, Any] = {n: None if c is None else np.asarray(c[kept]) for n, c in vars(e).items()}
    then = replace(prepared, offsets=np.searchsorted(kept, prepared.offsets), events=Events(**columns))
    assert then.events.timestamp is not None
    laid = LaidOut.of(then.events, then.event_user, gap_minutes)
    order, first, length = laid.order, laid.first, laid.length
    chosen = laid.going_on(then.events, np.full(len(first), at), after, gap_minutes)
    chosen = _agreeing(then, order, first, length, chosen, after, Counter())
    if not len(chosen):
        raise UserError(
            f"no session of {after} events or more goes on at {iso(at)}; choose another instant, at=…, in opening hours"
        )
    user = then.event_user[order[first[chosen]]]
    last = np.append(user[1:] != user[:-1], True)  # sessions come by customer, the newest beginning last
    rows_nK = laid.first_rows(chosen[last], after)
    return _cohort(then, rows_nK, None, observed_until, 0.0, Counter(), gap_minutes, declared)
