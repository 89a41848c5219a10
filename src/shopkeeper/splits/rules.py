"""The rules of each kind of split: from a log and a specification to training ends, requests and targets.

Shapes: M events, U users, B requests, N targets, S steps. Everything is index arithmetic on sorted rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from shopkeeper.data.consent import LATEST
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.ranges import lower_bound
from shopkeeper.data.session_rows import session_rows
from shopkeeper.errors import UserError
from shopkeeper.schema import EVENT_CODE, EVENT_TYPES, event_codes
from shopkeeper.splits.parts import Part, part_of, some_of
from shopkeeper.splits.placed import placed
from shopkeeper.splits.steps import first_of_each, first_within, last_of_each, steps, uniform_hash
from shopkeeper.timeline import Cutoffs, SplitSpec, iso
from shopkeeper.timeline.observation import tail_line

PARTS = ("validation", "test")


@dataclass(frozen=True)
class Division:
    """A log divided: training rows of user u are offsets[u-1]:train_end[u-1]."""

    train_end: np.ndarray  # int64 (U,)
    parts: dict[str, Part]
    cutoffs: Cutoffs | None  # None where the division is not by time


def divide(prepared: Prepared, spec: SplitSpec, allow_empty: bool = False) -> Division:
    """Divide a prepared log as the specification says.

    Raises:
        UserError: the data has no time stamps where the split needs them, no event of the target types, or a
            part would hold no request; the message names the setting to change.
    """
    if spec.timed and prepared.events.timestamp is None:
        raise UserError(
            f"split={spec.name} needs time stamps, but {prepared.name} holds only an order of events; "
            f"use split=leave_one_out or split=held_out_users"
        )
    if len(prepared.events.item) == 0:
        raise UserError(f"{prepared.name} holds no event: nothing to split; look at rejected.parquet and at filters")
    division = _agreed(prepared, _RULES[spec.kind](prepared, spec))
    for part, requests in division.parts.items():
        if len(requests) == 0 and not allow_empty:
            raise UserError(_empty(prepared, spec, division, part))
    return division


def _agreed(p: Prepared, division: Division) -> Division:
    """Without customers whose consent is not in force at the validation cutoff (training) or the instant (requests).

    A division that is not by time has no cutoff: there the whole consent table counts, for training and requests.
    """
    if p.consent is None:
        return division
    cutoffs = division.cutoffs
    agrees = p.consent.holds(np.arange(1, p.n_users + 1), LATEST if cutoffs is None else cutoffs.validation)
    train_end = np.where(agrees, division.train_end, p.offsets[:-1])

    def part(old: Part) -> Part:
        assert p.consent is not None
        return some_of(
            old, p.consent.holds(old.user, LATEST if cutoffs is None or old.instant is None else old.instant)
        )

    return Division(train_end, {name: part(old) for name, old in division.parts.items()}, cutoffs)


def is_target(prepared: Prepared, spec: SplitSpec) -> np.ndarray:
    """Which events count as targets: bool (M,). Data without a single one is refused."""
    wanted = np.zeros(max(EVENT_CODE.values()) + 2, bool)
    wanted[event_codes(spec.target_events)] = True
    mask = wanted[prepared.events.event_type]
    if not mask.any():
        present = [EVENT_TYPES[c - 1] for c in np.unique(prepared.events.event_type) if c > 0]
        then = "set split.target_events"
        if set(spec.target_events) == {"search"}:
            then = "name the column of queries in columns.query of its config, or ask another task"
        raise UserError(
            f"{prepared.name} holds no event of target_events={list(spec.target_events)}; "
            f"it has {', '.join(present)}: {then}"
        )
    return mask


def _leave_last(p: Prepared, spec: SplitSpec) -> Division:
    """The last k target steps of each user are test, the k before them validation, what lies before is training.

    A user with fewer than 2k + 1 target steps is training only, as in SASRec's protocol.
    """
    found = steps(_rows(is_target(p, spec)), p.event_user, p.events.order)
    n_steps = found.per_user(p.offsets)
    past = np.cumsum(n_steps)  # one past each user's last step
    asked = np.flatnonzero(n_steps >= 2 * spec.k + 1)

    def part(nearest: int, furthest: int) -> Part:
        chosen = (past[asked, None] - np.arange(furthest, nearest, -1)).ravel()
        rows, of_row = found.lines(chosen)
        end = found.row[past[asked] - furthest]
        return part_of(p, of_row // spec.k, rows, asked + 1, end, _instant(p, end))

    train_end = p.offsets[1:].copy()
    train_end[asked] = found.row[past[asked] - 2 * spec.k]
    return Division(train_end, {"validation": part(spec.k, 2 * spec.k), "test": part(0, spec.k)}, None)


def _windows(p: Prepared, spec: SplitSpec) -> Division:
    """Cutoffs in time: each user with a target step in a part's window is asked once.

    A step belongs to the window in which its first line lies; lines after the window's end are left out.
    """
    ts, order = p.events.timestamp, p.events.order
    assert ts is not None
    cutoffs = _cutoffs(p, spec)
    target = is_target(p, spec)
    found = steps(_rows(target if order is not None else target & (ts >= cutoffs.validation)), p.event_user, order)
    step_user, step_time = p.event_user[found.row], ts[found.row]

    def part(name: str) -> Part:
        low, high = cutoffs.window(name)
        if spec.asks != "next":
            return placed(p, spec, found, low, high)
        inside = np.flatnonzero((step_time >= low) & (step_time < high))
        of_user = step_user[inside]
        users = of_user[first_of_each(of_user)]
        if spec.targets == "first":
            inside = inside[first_of_each(of_user)]
        elif spec.targets == "last":
            inside = inside[last_of_each(of_user)]
        rows, of_row = found.lines(inside)
        rows, of_row = rows[ts[rows] < high], of_row[ts[rows] < high]
        if spec.targets == "all":
            instant = np.full(len(users), low, np.int64)
            of_row = (np.cumsum(first_of_each(of_user)) - 1)[of_row]
        else:
            instant = step_time[inside]
        end = lower_bound(ts, p.offsets[users - 1], p.offsets[users], instant)
        return part_of(p, of_row, rows, users, end, instant)

    train_end = lower_bound(ts, p.offsets[:-1], p.offsets[1:], cutoffs.validation)
    return Division(train_end, {name: part(name) for name in PARTS}, cutoffs)


def _held_out_users(p: Prepared, spec: SplitSpec) -> Division:
    """Strong generalisation (Liang et al. 2018, Marlin 2004): users of test and validation are not trained on at all.

    The first `fold_in` of a held-out user's events, in time order, is the history; the target events after it are
    the targets. The border never cuts an order. Who is held out follows from a hash of the internal id and the
    seed, so it stays when other users join.
    """
    u = uniform_hash(np.arange(1, p.n_users + 1), spec.seed)
    share = spec.shares
    test = u < share["test"]
    validation = ~test & (u < share["test"] + share["validation"])
    target = is_target(p, spec)
    train_end = np.where(test | validation, p.offsets[:-1], p.offsets[1:])

    def part(held_out: np.ndarray) -> Part:
        events = steps(np.flatnonzero(held_out[p.event_user - 1]), p.event_user, p.events.order)
        users = np.flatnonzero(held_out & (np.diff(p.offsets) > 0)) + 1
        length = p.offsets[users] - p.offsets[users - 1]
        border = p.offsets[users - 1] + np.floor(length * spec.fold_in).astype(np.int64)
        at = np.searchsorted(events.rows, border)
        border = border if events.of_row is None else events.row[events.of_row[at]]  # back to where its order begins
        border_of = np.zeros(p.n_users + 1, np.int64)
        border_of[users] = border
        rows, _ = events.lines(np.flatnonzero(events.row >= border_of[p.event_user[events.row]]))
        rows = rows[target[rows]]
        of_user = p.event_user[rows]
        asked = np.isin(users, of_user)
        request = np.cumsum(first_of_each(of_user)) - 1
        return part_of(p, request, rows, users[asked], border[asked], _instant(p, border[asked]))

    return Division(train_end, {"validation": part(validation), "test": part(test)}, None)


def sessions(p: Prepared, gap_minutes: float) -> np.ndarray:
    """First row of the session of each event, int64 (M,); see `session_rows`."""
    return session_rows(p.events, p.event_user, gap_minutes)


def _sessions(p: Prepared, spec: SplitSpec) -> Division:
    """Requests inside the sessions that begin in a part's window: what comes next, given the session so far.

    The session's first step is never asked for (nothing is known of the session then). The history is what the
    customer did from the session's first row on, in other sessions that run beside it, too; its time stamps lie
    strictly before the instant. Training rows lie before the validation cutoff, as in other splits by time.
    """
    ts, order = p.events.timestamp, p.events.order
    assert ts is not None
    cutoffs = _cutoffs(p, spec)
    session_row = sessions(p, spec.gap_minutes)
    found = steps(_rows(is_target(p, spec)), p.event_user, order)
    step_session, step_time = session_row[found.row], ts[found.row]

    def part(name: str) -> Part:
        low, high = cutoffs.window(name)
        inside = (ts[step_session] >= low) & (ts[step_session] < high) & (step_time < high)
        asked = np.flatnonzero(inside & (found.row > step_session))
        if spec.targets == "first":
            asked = asked[first_within(step_session[asked])]
        elif spec.targets == "last":
            asked = asked[first_within(step_session[asked][::-1])[::-1]]
        rows, of_row = found.lines(asked)
        rows, of_row = rows[ts[rows] < high], of_row[ts[rows] < high]
        user = p.event_user[found.row[asked]]
        start = step_session[asked] if spec.history == "session" else p.offsets[user - 1]
        end = lower_bound(ts, start, found.row[asked], step_time[asked])
        by_request = np.argsort(of_row, kind="stable")
        return part_of(p, of_row[by_request], rows[by_request], user, end, step_time[asked], start)

    train_end = lower_bound(ts, p.offsets[:-1], p.offsets[1:], cutoffs.validation)
    return Division(train_end, {name: part(name) for name in PARTS}, cutoffs)


_RULES: dict[str, Callable[[Prepared, SplitSpec], Division]] = {
    "leave_one_out": _leave_last,
    "leave_k_out": _leave_last,
    "temporal": _windows,
    "rolling": _windows,
    "sessions": _sessions,
    "held_out_users": _held_out_users,
}


def _rows(mask: np.ndarray) -> np.ndarray:
    return np.arange(len(mask)) if mask.all() else np.flatnonzero(mask)


def _instant(p: Prepared, rows: np.ndarray) -> np.ndarray | None:
    return None if p.events.timestamp is None else p.events.timestamp[rows]


def _cutoffs(p: Prepared, spec: SplitSpec) -> Cutoffs:
    ts = p.events.timestamp
    assert ts is not None
    return p.cutoffs(spec)


_PLACES = {  # what a request of `splits/placed.py` takes
    "product": "order of an item after a look at another one",
    "category": "order of an item with a category",
    "cart": "order of several items",
    "checkout": "order of several items",
}


def _empty(p: Prepared, spec: SplitSpec, division: Division, part: str) -> str:
    kinds = " or ".join(spec.target_events)
    if division.cutoffs is not None:
        low, high = (iso(t) for t in division.cutoffs.window(part))
        what = "session with a request" if spec.kind == "sessions" else f"{kinds} event"
        then = f"raise split.{part}_{'share' if part in spec.shares else 'days'}"
        if spec.asks != "next":
            what, then = _PLACES[spec.asks], f"{then}, or leave split.asks out"
        if (tail := p.observation.get("tail")) and spec.end is None:  # more days of nearly nothing would not help
            then = tail_line("the log", tail, p.zone)
        return f"split={spec.name}: {p.name} has no {what} for {part} in [{low}, {high}); {then}"
    if spec.kind == "held_out_users":
        return (
            f"split={spec.name}: no held-out user has a {kinds} for {part}; raise split.{part}_share or lower fold_in"
        )
    need = 2 * spec.k + 1
    return (
        f"split={spec.name}: no user of {p.name} has the {need} {kinds} steps that training, validation and test need; "
        f"set split.target_events or choose another split"
    )
