"""How long a log was watched: its first and last event need not be the beginning and the end of that.

A row with a wrong year, a few orders that were keyed in later, a last day that was exported at breakfast: each of them
would move every window that counts from the log's end. What looks like it is found here by counting events per day.
Nothing is left out by itself but the sliver of a last day; the rest is said, with the setting that decides it.

Shapes: D days from the first to the last event, both included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from shopkeeper.timeline.instants import DAY, iso
from shopkeeper.timeline.zones import changes_between, floor_day, instant_of, local

USUAL = 20  # events that a stretch must usually hold, so that few in it mean anything
SPARSE = 10  # times fewer events than usual in a stretch are a doubt
SLIVER = 4  # times fewer than on this weekday before: the last day was not watched to its end
BLOCK = 1 << 17  # events counted at once
SHORTEST_HEAD = 7  # days: a shop may begin slowly


def observe(timestamps: np.ndarray, zone: str = "UTC") -> dict[str, Any]:
    """What a log's instants (int64 µs, in any order) say about its ends, for the manifest.

    Returns:
        `sliver`: the midnight (µs) at which the last day begins, where that day holds far fewer events than its
        weekday did before, else None. `tail`, `head`: None, or a sparse stretch at an end of the log: `events` in the
        `days` days that begin (tail) or end (head) at the midnight `border` (µs), where `usual` are in as many days.
        `twice`: where there are such, how many events were read into the first of two hours that clocks show alike.
    """
    twice = shown_twice(timestamps, zone)
    timestamps = local(timestamps, zone)
    origin = floor_day(int(timestamps.min()))
    D = (int(timestamps.max()) - origin) // DAY + 1
    count_D = np.zeros(D, np.int64)
    for begin in range(0, len(timestamps), BLOCK):  # in the cache: half the time
        count_D += np.bincount((timestamps[begin : begin + BLOCK] - origin) // DAY, minlength=D)
    tail, head = _sparse(count_D), _sparse(count_D[::-1])
    if tail:
        tail["border"] = instant_of(origin + (D - tail["days"]) * DAY, zone)
    if head and head["days"] >= SHORTEST_HEAD and 2 * np.count_nonzero(count_D[: head["days"]]) <= head["days"]:
        head["border"] = instant_of(origin + head["days"] * DAY, zone)
    else:
        head = None
    sliver = instant_of(origin + (D - 1) * DAY, zone) if not tail and _is_sliver(count_D) else None
    return {"sliver": sliver, "tail": tail, "head": head, **({"twice": twice} if twice else {})}


def shown_twice(timestamps: np.ndarray, zone: str) -> int:
    """How many events lie in the first of two hours that clocks show alike as they are put back, none in the second.

    So it is where times are local and say no offset: nobody can tell the two hours apart, and both are read as the
    first. Of a log that tells them apart some events are usually in the second hour, and then nothing is counted.
    """
    changes, shifts = changes_between(int(timestamps.min()), int(timestamps.max()), zone)
    first = second = 0
    for change, back in zip(changes.tolist(), (shifts[:-1] - shifts[1:]).tolist(), strict=True):
        if back > 0:
            first += int(((timestamps >= change - back) & (timestamps < change)).sum())
            second += int(((timestamps >= change) & (timestamps < change + back)).sum())
    return 0 if second else first


def _sparse(count_D: np.ndarray) -> dict[str, int] | None:
    """The stretch of days at the end of the counts that is sparse beside what came before; None: there is none.

    Stray rows may lie apart from one another: what is left without the sparsest stretch is looked at again.
    """
    days, D = 0, len(count_D)
    while found := _sparsest(count_D[: D - days]):
        days += found
    if not days:
        return None
    weeks = -(-days // 7) * 7
    usual = count_D[max(D - days - weeks, 0) : max(D - weeks, 0)].sum()
    return {"days": days, "events": int(count_D[D - days :].sum()), "usual": int(usual)}


def _sparsest(count_D: np.ndarray) -> int:
    """Length in days of the sparsest stretch at the end, 0 where none is sparse.

    A stretch is compared with as many days before it that fall on the same weekdays, and by the day with the week
    before it. It begins after a day with events. A single day is none: it may be a sliver.
    """
    D = len(count_D)
    running = np.concatenate([[0], np.cumsum(count_D)])
    length = np.arange(2, D)
    weeks = -(-length // 7) * 7
    events = running[D] - running[D - length]
    usual = running[np.maximum(D - weeks, 0)] - running[np.maximum(D - length - weeks, 0)]
    week_before = running[D - length] - running[np.maximum(D - length - 7, 0)]  # a shop that fades away has no jump
    found = (usual >= USUAL) & (SPARSE * events <= usual) & (SPARSE * events * 7 <= length * week_before)
    found &= count_D[D - length - 1] > 0
    if not found.any():
        return 0
    return int(length[np.argmax(np.where(found, usual / np.maximum(events, 1), 0))])


def _is_sliver(count_D: np.ndarray) -> bool:
    """Whether the last day holds far fewer events than the same weekday of the weeks before (or the days before)."""
    last, past = count_D[-1], count_D[:-1]
    same = past[-7::-7][:4] if len(past) >= 7 else past
    usual = float(np.median(same)) if len(same) else 0.0
    return bool(usual >= USUAL and SLIVER * last < usual)


def _date(midnight: int, zone: str) -> str:
    """The date that begins at a midnight of the zone, as settings are written."""
    return iso(int(local(np.array(midnight), zone)))[:10]


def tail_line(name: str, tail: Mapping[str, Any], zone: str = "UTC") -> str:
    """The doubt about the end of a log in one line, with the end to set where the tail is none."""
    border, n = _date(tail["border"], zone), tail["events"]
    return (
        f"{name}: the last {n:,} event{'s lie' if n > 1 else ' lies'} in the {tail['days']:,} days from "
        f"{border} on, before which as long a time held {tail['usual']:,}; windows count back "
        f"from the last event: if the log is not complete up to there, set timeline.observed_until={border}"
    )


def head_line(name: str, head: Mapping[str, Any], zone: str = "UTC") -> str:
    """The same about the beginning."""
    border, n = _date(head["border"], zone), head["events"]
    return (
        f"{name}: the first {n:,} event{'s lie' if n > 1 else ' lies'} in the {head['days']:,} days before {border}, "
        f"after which as long a time held {head['usual']:,}; if the log does not begin before, set "
        f"timeline.observed_from={border}"
    )


def twice_line(name: str, events: int, zone: str) -> str:
    """The doubt about an hour that clocks show twice, in one line."""
    return (
        f"{name}: {events:,} event{'s lie' if events > 1 else ' lies'} in an hour that the clocks of {zone} show twice "
        f"as they are put back, and are read as of the first time: export times with their offset "
        f"(2023-10-29T02:10+02:00) where their order matters"
    )
