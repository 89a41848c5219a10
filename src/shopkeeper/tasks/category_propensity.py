"""Who will buy what kind of thing? Asked of each customer and category; label 1: a purchase of it in the window."""

from __future__ import annotations

from shopkeeper.customers.build_cohort import came_back
from shopkeeper.customers.subjects import CATEGORY
from shopkeeper.tasks.base import Truth, customer_task

TASK = customer_task(
    "category_propensity",
    Truth(came_back, by=CATEGORY),
    "Who will buy what kind of thing?",
    of_you={
        "English": "you buy something of a certain kind within the next {days}",
        "Русский": "вы купите что-нибудь определённого вида в ближайшие {days}",
        "Українська": "ви купите щось певного виду в найближчі {days}",
    },
    said=(
        "auroc",
        "Of a pair of customer and category with a purchase and one without, it gives the higher probability to the "
        "one with it in {share} of cases (AUROC), over {n:,} pairs.",
    ),
)
