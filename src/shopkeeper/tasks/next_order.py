"""When will the next order come? Days until it; of who does not order in the window, only that it is longer is known.

What is said are quantiles of the days, at most the window's length (`customers/waits/days.py`).
"""

from __future__ import annotations

from shopkeeper.customers.build_cohort import as_it_is
from shopkeeper.customers.window import WAIT
from shopkeeper.models.about import DAYS
from shopkeeper.tasks.base import Truth, customer_task

TASK = customer_task(
    "next_order", Truth(as_it_is, of=WAIT, answers=DAYS), "When will the next order come?", baseline="usual_gap"
)
