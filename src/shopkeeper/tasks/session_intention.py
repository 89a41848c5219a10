"""Who is going to buy in this session? Label 1: a purchase after the session's n-th event; asked right after that one.

Sessions in which something was bought by then are not asked about (`customers/build_sessions.py`).
"""

from __future__ import annotations

from shopkeeper.customers.build_cohort import came_back
from shopkeeper.customers.window import SESSION
from shopkeeper.tasks.base import Truth, customer_task

TASK = customer_task(
    "session_intention",
    Truth(came_back, by=SESSION),
    "Who is going to buy in this session?",
    means="A session with a purchase after the event at which it is asked about ends with one.",
    does="end with a purchase",
    did="ended with a purchase",
    said=(
        "auroc",
        "Of a session with a purchase and one without, it gives the higher probability to the one with it in {share} "
        "of cases (AUROC), over {n:,} sessions.",
    ),
)
