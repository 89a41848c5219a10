"""A toy shop on disk: customers who buy at their own rhythm, and stop at some day."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shopkeeper.data.prepared import Prepared
from tiny import DAY, tiny_prepared

CUTOFFS = [200 * DAY, 300 * DAY, 400 * DAY]  # train, calibration, test
LAST_DAY = 500


def toy_shop(path: Path, n_users: int = 400, seed: int = 0, views: float = 0) -> Prepared:
    """500 days; everybody has a first day, a mean gap of 5 to 60 days, and with some chance a last day.

    `views`: the share of the events that are views; of all others something is bought.
    """
    rng = np.random.default_rng(seed)
    histories, times, prices = [], [], []
    for _ in range(n_users):
        day, gap = rng.uniform(0, 200), rng.uniform(5, 60)
        last = rng.uniform(day, 700)
        days = [day]
        while (day := day + rng.exponential(gap)) < min(last, LAST_DAY):
            days.append(day)
        histories.append(rng.integers(1, 9, len(days)).tolist())
        times.append([int(d * DAY) for d in days])
        prices.append(rng.uniform(1, 20, len(days)).tolist())
    times[0][-1] = LAST_DAY * DAY  # the log ends on the same day whatever the seed
    categories = ["tea", "tea", "cups", "cups", "cups", "pots", "pots", "pots"]
    columns = {"price": prices}
    drawn = np.random.default_rng(seed + 1)
    types = [drawn.choice(["view", "purchase"], len(one), p=[views, 1 - views]).tolist() for one in histories]
    items = {"category": categories}
    return tiny_prepared(path, histories, times, columns=columns, event_types=types, items=items, n_items=8)[0]
