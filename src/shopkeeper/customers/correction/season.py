"""What a shop's year is, learnt from a labelled cohort: its days, and what the windows brought that models learn from.

What is then expected of a window, and how answers follow it, is in `programs/season.py`, for bundles too. Orders of the
whole shop also rise and fall with customers who are won and lost, and then it misleads: a later cohort tells.
"""

from __future__ import annotations

import numpy as np

from shopkeeper.customers.base import Cohort
from shopkeeper.customers.window import LINES, MONEY, NEW, ORDERS, RETURNS
from shopkeeper.data.requests import Events
from shopkeeper.features.customer.block import MONEY_UNIT, money_of, order_starts
from shopkeeper.metrics.classification import log_loss_rows
from shopkeeper.metrics.clusters import clustered_error
from shopkeeper.metrics.value import poisson_deviance_rows
from shopkeeper.models.about import AMOUNTS, PROBABILITIES
from shopkeeper.programs.season import BEFORE, FEWEST_WEEKS, MOST, WEEK, Season
from shopkeeper.schema import EVENT_CODE, MICROSECONDS_PER_DAY

FEWEST = 100  # customers who can bear out that answers are better carried
FOLLOW = (LINES, ORDERS, MONEY, RETURNS, NEW)  # what grows with the number of orders


def what_came(events: Events, offsets: np.ndarray, of: str) -> tuple[np.ndarray, np.ndarray]:
    """When the shop had an order, or took money, and how many or how much: int64 µs (n,) and float64 (n,).

    Args:
        events: sorted by (customer, time).
        offsets: customer j of them has rows offsets[j]:offsets[j+1].
        of: `ORDERS`, each where its first line lies, as labels count them; or `MONEY`.
    """
    assert events.timestamp is not None
    bought = events.event_type == EVENT_CODE["purchase"]
    if of == MONEY:
        return np.asarray(events.timestamp[bought]), money_of(events)[0][bought] * MONEY_UNIT
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    first = order_starts(bought, owner, events.order, events.timestamp)
    return np.asarray(events.timestamp[first]), np.ones(int(first.sum()))


def totals_until(until: int, time: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Amounts (n,) on each of the days that end at `until`, oldest first: float64 (days,).

    Only those strictly before `until` are read.
    """
    known = time < until
    ago = (until - 1 - time[known]) // MICROSECONDS_PER_DAY
    return np.bincount(ago, amount[known])[::-1].astype(np.float64)


def season_of(cohort: Cohort) -> Season | None:
    """From the labelled cohort whose windows answers were learnt from; nothing after the last of them is read.

    None where labels do not grow with what a window brings: a share of it, the days until something, a table's column.
    """
    if cohort.holds not in FOLLOW:
        return None
    of = MONEY if cohort.answers == AMOUNTS else ORDERS
    horizon = round(cohort.horizon_days * MICROSECONDS_PER_DAY)
    until = int(cohort.cutoff.max()) + horizon
    assert cohort.offsets is not None, "a cohort whose windows hold that has its log's customers"
    came_at = what_came(cohort.newest_log, cohort.offsets, of)
    seen, rows = [], []
    for cutoff, n in zip(*np.unique(cohort.cutoff, return_counts=True), strict=True):
        before, both = (totals_until(t, *came_at) for t in (int(cutoff), int(cutoff) + horizon))
        came, was = float(both.sum() - before.sum()) / cohort.horizon_days, float(before[-BEFORE:].sum())
        was /= max(min(len(before), BEFORE), 1)
        if len(before) >= WEEK * FEWEST_WEEKS / 2 and was > 0 and came > 0:
            seen.append(float(np.clip(np.log(came / was), -np.log(MOST), np.log(MOST))))
            rows.append(int(n))
    learnt = float(np.average(seen, weights=rows)) if seen else 0.0
    return Season(totals_until(until, *came_at), until, learnt)


def borne_out(cohort: Cohort, as_said: np.ndarray, carried: np.ndarray) -> tuple[bool, float, float]:
    """Whether answers (n,) are surely better carried on a labelled cohort, and the mean loss of each, uncarried first.

    Log loss of probabilities, else Poisson deviance: the headlines of tasks. To carry nothing is simpler, so that a
    gain must exceed its standard error over customers, and there must be `FEWEST` of them. That error knows nothing of
    chance that all customers share, such as weather: one window is one year's.
    """
    assert cohort.label is not None
    loss = log_loss_rows if cohort.answers == PROBABILITIES else poisson_deviance_rows
    known = ~np.isnan(as_said) & ~np.isnan(carried)
    plain, other = (loss(cohort.label[known], said[known]) for said in (as_said, carried))
    people, person = np.unique(cohort.customer[known], return_inverse=True)
    if not len(people):
        return False, np.nan, np.nan
    gain = plain - other
    surely = bool(gain.mean() > clustered_error(gain, person))
    return surely and len(people) >= FEWEST, float(plain.mean()), float(other.mean())
