"""Who is still a customer? No log shows who has left, so this is judged by who orders later: label 1.

Who orders in the window was still there; who does not may have left or may wait. A probability of being a customer
therefore lies above the share that orders, and only its ranking can be held against a log; `log_loss` and `ece` say how
far the two are apart. BG/NBD and Pareto/NBD answer with it (`customers/bg_nbd.py`), every other model with the
probability of an order in the window, which is less.
"""

from __future__ import annotations

from shopkeeper.customers.build_cohort import came_back
from shopkeeper.customers.window import ALIVE
from shopkeeper.tasks.base import Truth, customer_task

TASK = customer_task(
    "still_customer",
    Truth(came_back, of=ALIVE),
    "Who is still a customer?",
    means="Who orders in the {horizon} after the cutoff counts as a customer still.",
    does="order",
    did="ordered",
    of_you={
        "English": "you order again within the next {days}",
        "Русский": "вы снова сделаете заказ в ближайшие {days}",
        "Українська": "ви знову зробите замовлення в найближчі {days}",
    },
    said=(
        "auroc",
        "Of one who ordered later and one who did not, it gives the higher probability to the one who did in {share} "
        "of cases (AUROC), over {n:,} customers. Who did not order may still be a customer: no log shows who has left.",
    ),
)
