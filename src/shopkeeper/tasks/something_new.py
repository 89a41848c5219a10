"""Who will buy something that they never bought before? Label 1: so does a customer in the window."""

from __future__ import annotations

from shopkeeper.customers.build_cohort import came_back
from shopkeeper.customers.window import NEW
from shopkeeper.tasks.base import Truth, customer_task

TASK = customer_task(
    "something_new",
    Truth(came_back, of=NEW),
    "Who will buy something new to them?",
    means="Who buys in the {horizon} after the cutoff what they never bought before, buys something new.",
    does="buy something new to them",
    did="bought something new to them",
    of_you={
        "English": "within the next {days} you buy what you never bought before",
        "Русский": "вы купите то, чего раньше не покупали, в ближайшие {days}",
        "Українська": "ви купите те, чого раніше не купували, у найближчі {days}",
    },
    said=(
        "auroc",
        "Of a customer who buys something new to them and another, it gives the higher probability to the one who "
        "does in {share} of cases (AUROC), over {n:,} customers.",
    ),
)
