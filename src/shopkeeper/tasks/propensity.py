"""Who will buy? Label 1: a customer who buys at least once in the window."""

from __future__ import annotations

from shopkeeper.customers.build_cohort import came_back
from shopkeeper.tasks.base import Truth, customer_task

TASK = customer_task(
    "propensity",
    Truth(came_back),
    "Who will buy?",
    means="Who buys at least once in the {horizon} after the cutoff buys.",
    does="buy",
    did="bought",
    of_you={
        "English": "you buy something within the next {days}",
        "Русский": "вы что-нибудь купите в ближайшие {days}",
        "Українська": "ви щось купите в найближчі {days}",
    },
    said=(
        "auroc",
        "Of a customer who buys and one who does not, it gives the higher probability to the one who buys "
        "in {share} of cases (AUROC), over {n:,} customers.",
    ),
)
