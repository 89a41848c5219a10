"""Who will buy which of some items? Label 1: a purchase of the item in the window; asked of each customer and item."""

from __future__ import annotations

from shopkeeper.customers.build_cohort import came_back
from shopkeeper.customers.subjects import ITEM
from shopkeeper.tasks.base import Truth, customer_task

TASK = customer_task(
    "item_propensity",
    Truth(came_back, by=ITEM),
    "Who will buy which of some items?",
    of_you={
        "English": "you buy a certain item within the next {days}",
        "Русский": "вы купите определённый товар в ближайшие {days}",
        "Українська": "ви купите певний товар у найближчі {days}",
    },
    said=(
        "auroc",
        "Of a pair of customer and item with a purchase and one without, it gives the higher probability to the "
        "one with it in {share} of cases (AUROC), over {n:,} pairs.",
    ),
)
