"""How much will they spend? Purchases less returns of the window, in the log's currency (`customers.window`)."""

from __future__ import annotations

from shopkeeper.customers.build_cohort import as_it_is
from shopkeeper.customers.window import MONEY
from shopkeeper.models.about import AMOUNTS
from shopkeeper.tasks.base import Truth, customer_task

TASK = customer_task(
    "spend",
    Truth(as_it_is, of=MONEY, answers=AMOUNTS),
    "How much will they spend?",
    means="What is paid in the {horizon} after the cutoff, less what comes back, is spent.",
)
