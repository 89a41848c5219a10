"""Who buys when it is cheap? Label 1: at least half of what a customer buys in the window is below its usual price.

Asked of those who buy in the window something whose usual price is known (`features/marks.py`): of the others nobody
can say. They are left out and counted, and scored as everybody.
"""

from __future__ import annotations

from shopkeeper.customers.build_cohort import mostly
from shopkeeper.customers.window import DISCOUNT
from shopkeeper.tasks.base import Truth, customer_task

TASK = customer_task(
    "discount_affinity",
    Truth(mostly, of=DISCOUNT),
    "Who buys when it is cheap?",
    means="Who pays less than usual for at least half of what they buy in the {horizon} after the cutoff does so.",
    does="buy when it is cheap",
    did="bought when it was cheap",
    of_you={
        "English": "you pay less than usual for most of what you buy within the next {days}",
        "Русский": "в ближайшие {days} вы купите большую часть дешевле обычного",
        "Українська": "в найближчі {days} ви купите більшу частину дешевше, ніж зазвичай",
    },
    said=(
        "auroc",
        "Of one who buys mostly below the usual price and another, it gives the higher probability to the one who "
        "does in {share} of cases (AUROC), over {n:,} customers.",
    ),
)
