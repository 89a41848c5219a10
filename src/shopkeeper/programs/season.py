r"""What a window is going to bring to the whole shop, against the 90 days before it: one number for each cutoff.

What customers do in a window is told by their own history and by the time of year; trained on cutoffs of spring, a
model expects of autumn what spring brought. The logarithm of the shop's orders (or money) of a week is taken as a
Gaussian process,

$$k(s, t) = \sigma_l^2 e^{-|s - t| / \ell} + \sigma_s^2 e^{-d(s, t)^2 / 2 w^2} + \sigma_n^2 [s = t] ,$$

a level that wanders and returns, and a season: d is the distance of two days on the circle of the year, so that what
was seen a year before a day of the window (or a few weeks beside it) counts for that day, and what nobody has seen yet
is expected to be usual. C. Rasmussen and C. Williams, Gaussian Processes for Machine Learning (2006), chapter 2. The
scales are not learnt but given, as of a moderate season in retail, since most logs are shorter than two years. How far
the forecast is believed is learnt: its logarithm is shrunk by the slope with which earlier forecasts of the same shop,
each made of what was known then, have come true.

What a model says is then carried from the windows that it learnt from to the one that is asked about: intensities are
multiplied by $c = \exp(\ln \hat\rho(t) - \overline{\ln \rho})$, the ratio expected at the cutoff over the mean one of
the training windows. Counts and amounts become c m; somebody who does not come with probability q does not with $q^c$,
as of a Poisson process (D. Cox, Regression models and life-tables, JRSS B 34, 1972).

Shapes: n rows, W weeks, H days of the window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from shopkeeper.schema import MICROSECONDS_PER_DAY

WEEK, YEAR = 7, 365.25  # days
BEFORE = 90  # days that a window is set against
LEVEL, LEVEL_DAYS, SEASON, SEASON_DAYS, NOISE = 0.2, 365.0, 0.3, 45.0, 0.2  # of the logarithm of a week
CLOSED = 0.25  # of the usual week: holidays, and the days before the log really begins
FEWEST_WEEKS = 8  # with fewer nothing is expected to be other than it was
AGAIN, TRUST = 28, 0.05  # days from one earlier forecast to the next; how much is known before any is looked at
MOST = 4.0  # a window brings at most so many times what the days before it brought


def expected_ratio(total: np.ndarray, horizon_days: float, gap: int = 0) -> float:
    """What a day of the window brings, over a day of the 90 before it.

    Args:
        total: of the days that are known, oldest first.
        horizon_days: length of the window.
        gap: days between the last known one and the window.
    """
    H = max(round(horizon_days), 1)
    above = below = TRUST
    for then in range(len(total) - H, WEEK * FEWEST_WEEKS - 1, -AGAIN):
        was, came = float(total[max(then - BEFORE, 0) : then].mean()), float(total[then : then + H].mean())
        if was > 0 and came > 0:
            expected = np.log(_forecast(total[:then], H))
            above += expected * float(np.clip(np.log(came / was), -np.log(MOST), np.log(MOST)))
            below += expected**2
    return float(_forecast(total, H, gap) ** np.clip(above / below, 0, 1))


def _forecast(total: np.ndarray, H: int, gap: int = 0) -> float:
    """The same, wholly believed."""
    weeks = len(total) // WEEK
    if weeks < FEWEST_WEEKS or total[-BEFORE:].sum() <= 0:
        return 1.0
    week_W = total[len(total) - weeks * WEEK :].reshape(weeks, WEEK).sum(axis=1)
    if not (week_W > 0).any():  # what came lies before the first whole week
        return 1.0
    day_W = WEEK * (np.arange(weeks) - weeks) + WEEK / 2  # middle of the week; the end of what is known is 0
    usual = week_W > CLOSED * np.median(week_W[week_W > 0])
    z_W, day_W = np.log(week_W[usual]), day_W[usual]
    mean = float(np.median(z_W))
    known = _kernel(day_W, day_W) + NOISE**2 * np.eye(len(day_W))
    ahead = np.arange(gap + H) + 0.5
    day = np.exp(_kernel(ahead, day_W) @ np.linalg.solve(known, z_W - mean) + mean) / WEEK
    before = np.concatenate([total, day[:gap]])[-BEFORE:]
    return float(np.clip(day[gap:].mean() / before.mean(), 1 / MOST, MOST))


def _kernel(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    apart = np.abs(one[:, None] - other[None, :])
    on_the_circle = np.abs((apart + YEAR / 2) % YEAR - YEAR / 2)
    season = SEASON**2 * np.exp(-(on_the_circle**2) / (2 * SEASON_DAYS**2))
    return np.asarray(LEVEL**2 * np.exp(-apart / LEVEL_DAYS) + season)


@dataclass(frozen=True)
class Season:
    """What is known of the shop's year when a model is fitted."""

    total: np.ndarray  # float64 (days,): orders, or money, of the days until …
    until: int  # … this instant, µs: the end of the last window that was learnt from
    learnt: float  # mean log of what those windows brought, over the days before them

    def carried(
        self, value: np.ndarray, cutoff: np.ndarray, horizon_days: float, of_nothing: float | None
    ) -> np.ndarray:
        """Answers of windows like those that were learnt from -> those of the windows from `cutoff` on: float64 (n,).

        Args:
            value: probabilities, or means of counts or amounts (n,).
            cutoff: int64 (n,) µs, where each window begins.
            horizon_days: its length.
            of_nothing: of probabilities the label of a window that holds nothing, 0 or 1; None: of means.
        """
        found = value.astype(np.float64)
        days = (cutoff - self.until) // MICROSECONDS_PER_DAY  # before the end: days that are not known yet
        for gap in np.unique(days).tolist():
            known = self.total[: len(self.total) + min(gap, 0)] if len(self.total) + gap > 0 else self.total[:0]
            ratio = expected_ratio(known, horizon_days, max(gap, 0))
            factor, at = ratio / np.exp(self.learnt), days == gap
            if of_nothing is None:
                found[at] *= factor
            elif of_nothing == 1:
                found[at] **= factor
            else:
                found[at] = 1 - (1 - found[at]) ** factor
        return found

    def as_json(self) -> dict[str, Any]:
        """For `season_from` again."""
        return {"total": self.total.tolist(), "until": self.until, "learnt": self.learnt}


def season_from(state: Mapping[str, Any]) -> Season:
    """What `as_json` gave."""
    return Season(np.array(state["total"], np.float64), int(state["until"]), float(state["learnt"]))
