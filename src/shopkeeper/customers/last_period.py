"""The last period again: as many orders, or as much money, as the customer's window before the cutoff held.

What any model of counts or amounts has to beat: it needs no training, and follows a shop that grows or shrinks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.state import read_state, with_blanks, write_state
from shopkeeper.customers.window import MONEY, ORDERS, own_events, running_total, window_total
from shopkeeper.data.ranges import lower_bound
from shopkeeper.models.about import AMOUNTS, COUNTS, About
from shopkeeper.models.fit import Fit
from shopkeeper.schema import MICROSECONDS_PER_DAY

OF = {COUNTS: ORDERS, AMOUNTS: MONEY}


class LastPeriod:
    """Counts or adds up [cutoff - horizon, cutoff); nothing is learnt but which of the two is asked for."""

    about = About(
        answers=COUNTS,
        also=(AMOUNTS,),
        reads=("event_type", "timestamp", "price", "quantity", "order"),
        reads_instant=True,
        not_exported="it is a yardstick: who answers can add up the last period without a model",
    )
    untrainable = ""

    def __init__(self) -> None:
        self.answers = COUNTS

    def fit(self, train: Cohort, calibration: Cohort | None, fit: Fit) -> None:
        """Remember what is asked for."""
        self.answers = train.answers

    def predict(self, cohort: Cohort) -> Predictions:
        """What the last period held."""
        of = OF[self.answers]
        events, offsets = own_events(cohort.events, cohort.start, cohort.end)
        assert events.timestamp is not None
        since = cohort.cutoff - round(cohort.horizon_days * MICROSECONDS_PER_DAY)
        start = lower_bound(events.timestamp, offsets[:-1], offsets[1:], since)
        held = window_total(running_total(events, offsets, of), start, offsets[1:], of)
        return with_blanks(cohort, held.astype(np.float64))

    def save(self, folder: Path) -> None:
        """Write `model.json`."""
        write_state(folder, "last_period", {"answers": self.answers})

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.answers = str(read_state(folder, "last_period", ("answers",))["answers"])
