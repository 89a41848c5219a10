"""Who is about to leave? Label 1: an active customer who does not buy in the window."""

from __future__ import annotations

from typing import Any

from shopkeeper.customers.build_cohort import stayed_away
from shopkeeper.tasks.base import Truth, customer_task


def oracle() -> Any:
    """Knows how probable it is in a simulated shop."""
    from shopkeeper.customers.oracle import ChurnOracle

    return ChurnOracle()


TASK = customer_task(
    "churn",
    Truth(stayed_away, oracle, profit=True),
    "Who is about to leave?",
    rows="customers.parquet",
    means="Who had bought in {active} before the cutoff, and did not buy in the {horizon} after it, has left.",
    does="leave",
    did="left",
    of_you={
        "English": "you buy nothing within the next {days}",
        "Русский": "вы ничего не купите в ближайшие {days}",
        "Українська": "ви нічого не купите в найближчі {days}",
    },
    said=(
        "auroc",
        "Of a customer who leaves and one who stays, it gives the higher risk to the one who leaves "
        "in {share} of cases (AUROC), over {n:,} customers.",
    ),
)
