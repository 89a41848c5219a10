"""Earlier windows of a split's own timeline: questions whose answers lie in the training rows.

A ranker learns from what candidate models proposed *before* the purchases that it is judged on, and a setting that is
left open is chosen by what was right before (`inside.py`). So each window has its own cutoff, models are fitted on the
rows before it alone, and its targets are what followed within the window's days. On data that has only an order there
is one window: everybody's last target event of the training rows.

Shapes: B requests, N target items.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from shopkeeper.data.listed import listed
from shopkeeper.data.orders import first_of_steps
from shopkeeper.data.ranges import lower_bound
from shopkeeper.data.requests import Events, Requests, Targets
from shopkeeper.data.session_rows import session_rows
from shopkeeper.data.split import Split
from shopkeeper.schema import MICROSECONDS_PER_DAY
from shopkeeper.splits.placed import PAGES, on_page
from shopkeeper.splits.steps import steps

BASKETS = ("cart", "checkout")  # of `split.asks`: part of the order is known
DAYS = 28.0  # of a window, where nothing says how long the split's own are


@dataclass(frozen=True)
class Window:
    """What may be learnt before a cutoff, and the questions that follow it."""

    split: Split  # training rows end at the window's cutoff; it has no validation or test of its own
    requests: Requests
    targets: Targets


def earlier_windows(split: Split, types: list[int], days: float, count: int) -> list[Window]:
    """Up to `count` windows of `days` days before the end of the training rows, the newest first.

    Where the training rows span less than three times that, of a third of their span, so that there is something to
    learn from before the newest one.
    Each customer is asked at every order of his in it (types: event codes of targets), all of whose lines are targets;
    where there are no order ids, at every instant. Windows in which nobody has an order, as on a day on which the shop
    is closed, are left out, and so are those before which nobody has one. With `split.asks=cart` or `checkout` orders
    of one item are, too (`with_basket`). A split that asks inside of sessions has windows that do (`_Sessions`), one
    that asks on pages asks there, each customer about one order in each window (`splits.placed`).
    """
    time = split.prepared.events.timestamp
    if time is None:
        window = _of(split, _last_steps(split, types), types)
        return [window] if len(window.requests) else []
    if not len(split.training_rows()[1]):
        return []
    cutoffs = split.timeline.get("cutoffs") or {}
    trained = time[split.training_rows()[1]]
    end = int(cutoffs["validation"]["us"]) if "validation" in cutoffs else int(trained.max()) + 1
    length = min(round(days * MICROSECONDS_PER_DAY), -(-(end - int(trained.min())) // 3))
    found, sessions = list[Window](), _Sessions.of(split)
    for passed in np.unique((end - 1 - time[split.training_rows(types)[1]]) // length).tolist():
        if len(found) == count:
            break
        cutoff = end - (passed + 1) * length
        window = _of(split, _ends_at(split, cutoff), types, (cutoff, cutoff + length), sessions)
        if not len(window.split.training_rows(types)[1]):
            break
        if _asks(split) in PAGES:
            window = _on_pages(split, window, types, cutoff, cutoff + length)
        if _asks(split) in BASKETS:
            window = _of_some(window, np.flatnonzero(_different(window.targets)[1] > 1))
        if len(window.requests):
            found.append(window)
    return found


def _asks(split: Split) -> str:
    return str((split.timeline.get("spec") or {}).get("asks"))


def windows_as_asked(split: Split, types: list[int], count: int, most: int) -> list[Window]:
    """Earlier windows whose questions are like those of the split's validation, at most `most` in all.

    With a cutoff in time up to `count` windows that are as long as validation's, each customer asked at his first
    order in each, or inside of each session; else everybody is asked for his last step. Where part of the order is
    known (`split.asks=cart` or `checkout`), so it is here. Where there are more questions, some that are evenly spread
    over the customers.
    """
    cutoffs, spec = split.timeline.get("cutoffs") or {}, split.timeline.get("spec") or {}
    if split.prepared.events.timestamp is None or "validation" not in cutoffs:
        window = _of(split, _last_steps(split, types), types)
        found = [window] if len(window.requests) and len(window.split.training_rows(types)[1]) else []
    else:
        days = spec.get("validation_days") or _days_between(cutoffs) or DAYS
        found = earlier_windows(split, types, float(days), count)
        if _Sessions.of(split) is None:
            found = [_of_some(w, _first_of_each(w.requests)) for w in found]
    share = most // max(len(found), 1)
    return [with_basket(_of_some(w, _spread(len(w.requests), share))) for w in found]


def _days_between(cutoffs: dict[str, Any]) -> float:
    """From the validation cutoff to test's; 0 where the model is trained until test."""
    last = cutoffs.get("test") or cutoffs["validation"]
    return (int(last["us"]) - int(cutoffs["validation"]["us"])) / MICROSECONDS_PER_DAY


def _first_of_each(requests: Requests) -> np.ndarray:
    """Positions of each customer's first request, int64."""
    assert requests.user is not None
    assert requests.instant is not None
    order = np.lexsort((requests.instant, requests.user))
    user = requests.user[order]
    return np.sort(order[np.append(True, user[1:] != user[:-1])[: len(user)]])


def _spread(n: int, most: int) -> np.ndarray:
    return np.arange(n) if n <= most else np.linspace(0, n - 1, most).astype(np.int64)


def _of_some(window: Window, rows: np.ndarray) -> Window:
    """The window with the requests at these positions alone."""
    offsets, targets = window.targets.offsets, window.targets
    counts = np.diff(offsets)[rows]
    at = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    kept = np.arange(at[-1]) + np.repeat(offsets[:-1][rows] - at[:-1], counts)
    return replace(
        window, requests=window.requests.take(rows), targets=Targets(at, targets.item[kept], targets.row[kept])
    )


def _different(targets: Targets) -> tuple[np.ndarray, np.ndarray]:
    """As how manieth of its order's different items each target comes, from 0: (N,); how many there are: (B,)."""
    owner = targets.request
    key = owner * (int(targets.item.max(initial=0)) + 1) + targets.item
    _, first, of = np.unique(key, return_index=True, return_inverse=True)
    counts = np.bincount(owner[first], minlength=len(targets))
    order = np.argsort(first, kind="stable")  # targets lie by request, so these do, too
    place = np.empty(len(first), np.int64)
    place[order] = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    return place[of], counts


def with_basket(window: Window) -> Window:
    """With `split.asks=cart` or `checkout` the first different items of each order lie in the basket, not in question.

    How many are in differs from customer to customer, from one to all but one, which it is at the checkout. Histories
    are copied, so a window of many requests is cut before.
    """
    if (asks := _asks(window.split)) not in BASKETS or not len(window.requests):
        return window
    requests, targets, (place, counts) = window.requests, window.targets, _different(window.targets)
    assert requests.user is not None
    known = counts - 1 if asks == "checkout" else 1 + requests.user % np.maximum(counts - 1, 1)
    inside = place < known[targets.request]
    basket, left = (
        np.append(0, np.cumsum(np.bincount(targets.request[x], minlength=len(targets)))).astype(np.int64)
        for x in (inside, ~inside)
    )
    held = requests.holding((basket, targets.row[inside]))
    return replace(
        window,
        requests=replace(held, barred=(basket, targets.item[inside])),
        targets=Targets(left, targets.item[~inside], targets.row[~inside]),
    )


def _on_pages(split: Split, window: Window, types: list[int], low: int, high: int) -> Window:
    """The window with its questions where the split's own are asked: on the pages of items or of categories."""
    prepared = split.prepared
    found = steps(split.training_rows(types)[1], prepared.event_user, prepared.events.order)
    part = on_page(prepared, _asks(split), found, low, high)
    requests = Requests(
        prepared.events,
        part.start,
        part.end,
        part.instant,
        part.user,
        candidates=None if part.page is None else window.split.of_categories(part.page.tolist()),
        nightly=split.nightly,
        barred=part.barred,
    )
    return replace(window, requests=requests, targets=Targets(part.offsets, prepared.events.item[part.row], part.row))


def offers_new_items(split: Split) -> bool:
    """Whether items may be recommended that nobody had taken (`split.new_items`)."""
    return bool((split.timeline.get("spec") or {}).get("new_items"))


def _ends_at(split: Split, cutoff: int) -> np.ndarray:
    """End of each user's rows strictly before the cutoff, never past the training end: int64 (n_users,)."""
    time = split.prepared.events.timestamp
    assert time is not None
    return lower_bound(time, split.prepared.offsets[:-1], np.asarray(split.train_end), cutoff)


def _last_steps(split: Split, types: list[int]) -> np.ndarray:
    """First row of each user's last target step before the training end, else the training end: int64 (n_users,)."""
    events, ends = split.prepared.events, np.asarray(split.train_end, np.int64).copy()
    _, rows = split.training_rows(types)
    owner = np.searchsorted(split.prepared.offsets, rows, side="right") - 1
    last = np.full(len(ends), -1, np.int64)
    np.maximum.at(last, owner, rows[_steps(events, owner, rows)])
    return np.where(last >= 0, last, ends)


@dataclass(frozen=True)
class _Sessions:
    """How a split asks inside of sessions (`split=sessions`): about each step but the first, of those that begin in
    the window; what is known is the session so far, or all that the customer did."""

    begin: np.ndarray  # int64 (M,) first row of the session of each event
    targets: str  # all | first | last
    alone: bool  # what came before the session is not known

    @classmethod
    def of(cls, split: Split) -> _Sessions | None:
        """None where the split asks otherwise."""
        spec, prepared = split.timeline.get("spec") or {}, split.prepared
        if spec.get("kind") != "sessions" or prepared.events.timestamp is None:
            return None
        begin = session_rows(prepared.events, prepared.event_user, float(spec["gap_minutes"]))
        return cls(begin, str(spec.get("targets") or "all"), spec.get("history") != "user")

    def asked(self, time: np.ndarray, row: np.ndarray, low: int) -> np.ndarray:
        """About which of the steps (`row`: first rows, by session ascending) it is asked: bool."""
        begin = self.begin[row]
        found = (row > begin) & (time[begin] >= low)
        if self.targets != "all":
            at = np.flatnonzero(found)
            at = at if self.targets == "first" else at[::-1]
            found[:] = False
            found[at[np.unique(begin[at], return_index=True)[1]]] = True
        return found


def _of(
    split: Split,
    ends: np.ndarray,
    types: list[int],
    span: tuple[int, int] | None = None,
    sessions: _Sessions | None = None,
) -> Window:
    """The window whose training rows end at `ends`; targets lie at or after them and in `span` (µs), if there is time.

    What items are is known as of its cutoff, too; where the split offers new items, so does the window.
    """
    prepared, events = split.prepared, split.prepared.events
    offsets, rows = split.training_rows(types)
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    step = _steps(events, owner, rows)
    inside = rows[step] >= ends[owner]  # what had begun before is no question of this window
    if span is not None and events.timestamp is not None:
        inside &= events.timestamp[rows] < span[1]
        if sessions is not None:
            begins = np.unique(step[inside])
            inside &= np.isin(step, begins[sessions.asked(events.timestamp, rows[begins], span[0])])
    by_step = np.flatnonzero(inside)[np.argsort(step[inside], kind="stable")]
    first, request = np.unique(step[by_step], return_inverse=True)
    asked, instant, history_end = owner[first], None, rows[first]
    start = prepared.offsets[asked]
    if sessions is not None and sessions.alone:
        start = sessions.begin[history_end]
    rows = rows[by_step]
    if events.timestamp is not None:
        instant = np.asarray(events.timestamp[history_end], np.int64)
        history_end = lower_bound(events.timestamp, start, prepared.offsets[asked + 1], instant)
    counts = np.bincount(request, minlength=len(asked))
    learnt = replace(split, train_end=ends)
    offered = np.zeros(prepared.n_items + 1, bool)
    offered[events.item[learnt.training_rows()[1]]] = True
    timeline = split.timeline
    if span is not None:
        timeline = {**timeline, "cutoffs": {**(timeline.get("cutoffs") or {}), "validation": {"us": span[0]}}}
        if offers_new_items(split):
            offered |= listed(prepared, span[0])
    catalogue = np.intersect1d(np.flatnonzero(offered), split.catalogue)
    return Window(
        replace(learnt, catalogue=catalogue.astype(np.int32), timeline=timeline),
        Requests(
            events,
            start,
            history_end,
            instant,
            (asked + 1).astype(np.int32),
            nightly=split.nightly,  # its nights lie before the questions, all of them before the training end
        ),
        Targets(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), events.item[rows], rows),
    )


def _steps(events: Events, owner: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Where (position in `rows`) the step of each row begins, int64."""
    time, order = (None if column is None else column[rows] for column in (events.timestamp, events.order))
    return first_of_steps(owner, time, order)
