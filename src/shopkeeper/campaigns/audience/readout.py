"""What an audience's message did, from its own arms and the log since: treatment against control, by customer.

Everybody of the audience counts in the arm that was dealt, written to or not. What a customer did in the window before
the instant takes out what would have differed anyway (CUPED). Segments are those of the instant, judged together: the
level is divided by their number (Bonferroni).

Shapes: n customers of the audience.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from shopkeeper.campaigns.segments.segment import has_money
from shopkeeper.customers.window import MONEY, ORDERS, running_total, window_total
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.ranges import lower_bound
from shopkeeper.errors import UserError
from shopkeeper.evaluation.online_test import ENOUGH, read_out
from shopkeeper.schema import MICROSECONDS_PER_DAY
from shopkeeper.timeline import floor_day, instant, iso

BUYERS = "buyers"  # the share of customers who order


@dataclass(frozen=True)
class Outcome:
    """What each of n customers did in the window, and in the one as long before."""

    value: np.ndarray  # float64 (n,)
    before: np.ndarray


def outcomes(prepared: Prepared, customer: np.ndarray, at: int, days: float) -> dict[str, Outcome]:
    """Buyers, orders and (where the log has prices) net money in [at, at + days), by name.

    Args:
        prepared: the later log.
        customer: internal ids (n,).
        at: the instant, µs.
        days: of the window.

    Raises:
        UserError: the log is not known to be whole until the window's end: until midnight before its last event, if its
            dataset does not say `observed_until`.
    """
    time = prepared.events.timestamp
    if time is None:
        raise UserError(f"dataset '{prepared.name}' has no time stamps: nothing is known of what came later")
    length = round(days * MICROSECONDS_PER_DAY)
    until = (prepared.manifest.get("config") or {}).get("observed_until")
    if until is None:
        end = floor_day(prepared.span[1], prepared.zone)  # the last event's day may not be over
    else:
        end = instant(until, "observed_until", prepared.zone)
    if at + length > end:
        raise UserError(
            f"the log is known to be whole until {iso(end)}, before {days:g} days from {iso(at)} are over; prepare the "
            f"newer log (with observed_until in its YAML, where its last day is whole), or read "
            f"--days {max((end - at) / MICROSECONDS_PER_DAY, 0):.4g}"
        )
    first, last = prepared.offsets[customer - 1], prepared.offsets[customer]
    edges = [lower_bound(time, first, last, instant) for instant in (at - length, at, at + length)]
    found = {}
    for of in (ORDERS, MONEY) if has_money(prepared) else (ORDERS,):
        running = running_total(prepared.events, prepared.offsets, of)
        before, since = (window_total(running, low, high, of).astype(np.float64) for low, high in pairwise(edges))
        found[of] = Outcome(since, before)
    orders = found[ORDERS]
    return {BUYERS: Outcome((orders.value > 0) * 1.0, (orders.before > 0) * 1.0), **found}


def readout(
    found: Mapping[str, Outcome],
    treated: np.ndarray,
    segment: Mapping[str, np.ndarray],
    *,
    treatment_share: float,
    level: float = 0.05,
) -> dict[str, Any]:
    """Differences of the arms, in all and by segment.

    Args:
        found: outcomes of n customers, by name.
        treated: bool (n,).
        segment: segmentation -> segment, str object (n,), None where there is none.
        treatment_share: as it was dealt.
        level: of the intervals.

    Returns:
        `sample_ratio` (its `ok` says whether anything may be read), `outcomes` by name (means of both arms, the
        difference with its interval, what CUPED left of the variance) and `segments`, of those with half of `ENOUGH`
        customers or more in each arm.
    """
    ratio: dict[str, Any] = {}
    said: dict[str, Any] = {}
    for name, outcome in found.items():
        one = read_out(outcome.value, treated, outcome.before, treatment_share=treatment_share, level=level)
        ratio, said[name] = one["sample_ratio"], _arms(one, outcome.value, treated)
    rows = []
    for segmentation, label in segment.items():
        for value in dict.fromkeys(x for x in label.tolist() if x is not None):
            here = label == value
            if min(int((here & treated).sum()), int((here & ~treated).sum())) * 2 >= ENOUGH:
                rows.append((segmentation, str(value), here))
    shown = [name for name in (BUYERS, MONEY) if name in found]
    family = max(len(rows) * len(shown), 1)
    segments = [
        {
            "segmentation": segmentation,
            "segment": value,
            "treatment": int((here & treated).sum()),
            "control": int((here & ~treated).sum()),
            "outcomes": {
                name: _arms(
                    read_out(
                        found[name].value[here], treated[here], found[name].before[here],
                        treatment_share=treatment_share, level=level / family,
                    ),
                    found[name].value[here], treated[here],
                )
                for name in shown
            },
        }
        for segmentation, value, here in rows
    ]  # fmt: skip
    return {"sample_ratio": ratio, "outcomes": said, "segments": segments, "level": level, "family": family}


def _arms(one: Mapping[str, Any], value: np.ndarray, treated: np.ndarray) -> dict[str, Any]:
    best = one["cuped"]
    return {
        "treatment": float(value[treated].mean()),
        "control": float(value[~treated].mean()),
        **{name: best[name] for name in ("value", "low", "high", "sequential_low", "sequential_high")},
        "variance_left": one["variance_left"],
    }


def money_of(said: Mapping[str, Any], written_to: int, contact_cost: float | None) -> dict[str, float] | None:
    """What the message brought in all: the difference in money of each who was written to, less what writing costs."""
    if MONEY not in said["outcomes"]:
        return None
    one, cost = said["outcomes"][MONEY], (contact_cost or 0.0) * written_to
    return {"cost": cost, **{name: one[name] * written_to - cost for name in ("value", "low", "high")}}
