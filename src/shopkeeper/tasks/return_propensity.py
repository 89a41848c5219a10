"""Who will send something back? Label 1: a customer with a return in the window, whenever the purchase was."""

from __future__ import annotations

from shopkeeper.customers.build_cohort import came_back
from shopkeeper.customers.window import RETURNS
from shopkeeper.tasks.base import Truth, customer_task

TASK = customer_task(
    "return_propensity",
    Truth(came_back, of=RETURNS),
    "Who will send something back?",
    means="Who sends something back in the {horizon} after the cutoff, whenever it was bought, returns.",
    does="send something back",
    did="sent something back",
    of_you={
        "English": "you send something back within the next {days}",
        "Русский": "вы что-нибудь вернёте в ближайшие {days}",
        "Українська": "ви щось повернете в найближчі {days}",
    },
    said=(
        "auroc",
        "Of a customer who sends something back and one who does not, it gives the higher probability to the one who "
        "does in {share} of cases (AUROC), over {n:,} customers.",
    ),
)
