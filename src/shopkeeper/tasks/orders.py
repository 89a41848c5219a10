"""How often will they order? The number of orders that begin in the window; returns take nothing back from it."""

from __future__ import annotations

from shopkeeper.customers.build_cohort import as_it_is
from shopkeeper.customers.window import ORDERS
from shopkeeper.models.about import COUNTS
from shopkeeper.tasks.base import Truth, customer_task

TASK = customer_task(
    "orders",
    Truth(as_it_is, of=ORDERS, answers=COUNTS),
    "How often will they order?",
    means="Orders that begin in the {horizon} after the cutoff are counted.",
)
