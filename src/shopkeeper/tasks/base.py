"""What a task is: everything that differs between "what next?", "who leaves?" and whatever is asked after them.

A task is a file with a `TASK` and a `conf/task/<name>.yaml`. It asks either of a split's requests (which items?) or of
customers at cutoffs (a label in the window that follows, see `Truth`); all else follows from that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shopkeeper.customers.window import LINES, SESSION
from shopkeeper.models.about import AMOUNTS, COUNTS, DAYS, PROBABILITIES

REQUESTS, CUSTOMERS = "requests", "customers"  # what tasks are asked of


@dataclass(frozen=True)
class Truth:
    """What is true of customers at a cutoff, and what can be held against it."""

    label: Callable[[np.ndarray], np.ndarray]  # what the window holds, (n,) -> label, float64 (n,)
    oracle: Callable[[], Any] | None = None  # makes the model that knows the answer in a simulated shop
    profit: bool = False  # whether the dataset's `profit:` is about those whom this task finds
    by: str = ""  # asked of each customer and a category or item (`customers.subjects`), or of sessions
    of: str = LINES  # what that is: target events (lines), orders, money, … (`customers.window`)
    answers: str = (
        PROBABILITIES  # what is said of a label: the probability of 1, the mean of a count or an amount, days
    )


@dataclass(frozen=True)
class Bands:
    """A slice of customers: what a feature was at the cutoff. What is not known comes last."""

    feature: str
    edges: tuple[float, ...]  # where the next band begins
    names: tuple[str, ...]  # one more


CUSTOMER_SLICES: Mapping[str, Bands] = {
    "orders": Bands("orders", (2, 4, 10), ("1", "2-3", "4-9", "10+")),
    "recency": Bands("days_since_order", (30, 60, 90), ("under 30 days", "30-59 days", "60-89 days", "90+ days")),
}


@dataclass(frozen=True)
class Words:
    """What the report says."""

    question: str = ""
    models: str = "Models"  # heading of the leaderboard
    verb: str = "predicts best"
    row: str = "customer"  # what is asked about; an s makes it plural
    slices: str = "Slices"  # in the table of contents
    who: str = "By kind of customer"  # heading of the slices
    # A metric of the best model ({k}: cut-off of lists) and a sentence about it, of {share} (as a percentage, with its
    # bounds), {interval}, {n} and {places}.
    said: tuple[str, str] = ("auroc", "AUROC {interval} over {n:,} customers.")
    means: str = ""  # what is true of a row with label 1, of {active} and {horizon} (both text, such as "60 days")
    does: str = ""  # and in a sentence: "are expected to leave"
    did: str = ""  # "32 of 100 left"
    # What a bundle's statement tells customers, in each of its languages: how probable it is that "you buy nothing …".
    of_you: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """One task, as its file declares it."""

    name: str
    baseline: str  # the model that the best one is always set beside, unless `baseline_setting` says otherwise
    rows: str  # the file in a report with one row per question and model
    shown: tuple[str, ...]  # metrics in the report's table beside the headline; {k}: cut-off of lists
    beneath: tuple[str, ...] = ()  # and those under it with their intervals, as far as the data have them
    money: tuple[str, ...] = ()  # metrics in the shop's money; the first that the data have says what a model earns
    truth: Truth | None = None  # of customers; None: the items that were taken after a request
    words: Words = field(default_factory=Words)
    aggregates: tuple[str, ...] = ()  # metrics that are no means over rows, compared between models beside the headline
    slices: Mapping[str, Bands] = field(default_factory=dict)  # of customers; those of requests follow from the data
    served_by: str = ""  # another task whose models serve this one, too
    baseline_setting: str = ""  # the key in `report:` that names another baseline

    @property
    def asks(self) -> str:
        """Of what it is asked: `requests` or `customers`."""
        return REQUESTS if self.truth is None else CUSTOMERS


# By what is answered: what the report shows beside the headline, and which of that is no mean over rows.
FIGURES: Mapping[str, Mapping[str, Any]] = {
    PROBABILITIES: {
        "shown": ("log_loss", "auroc", "average_precision", "brier", "ece"),
        "aggregates": ("auroc", "average_precision", "ece"),
    },
    COUNTS: {
        "shown": ("poisson_deviance", "absolute_error", "rmse", "bias", "normalised_gini"),
        "aggregates": ("rmse", "absolute_bias", "normalised_gini"),
    },
    AMOUNTS: {
        "shown": ("poisson_deviance", "absolute_error", "rmse", "bias", "normalised_gini", "spearman"),
        "aggregates": ("rmse", "absolute_bias", "normalised_gini"),
    },
    DAYS: {"shown": ("pinball", "concordance", "absolute_error", "in_interval"), "aggregates": ("concordance",)},
}
SAID_OF_TOTALS = ("bias", "What it expects of all {n:,} customers together is off by {interval} %.")
SAID_OF_DAYS = (
    "concordance",
    "Of two customers whose next orders lie apart, it expects the earlier one earlier in {share} of cases "
    "(concordance), over {n:,} customers; who does not order in the window is only known to be later.",
)


def customer_task(name: str, truth: Truth, question: str, **other: Any) -> Task:
    """A task about customers, with the words and metrics that such tasks have in common; `other`: fields of `Task`."""
    title = name.replace("_", " ").capitalize()
    if truth.answers != PROBABILITIES and "said" not in other:
        other["said"] = SAID_OF_DAYS if truth.answers == DAYS else SAID_OF_TOTALS
    words = Words(
        question=question,
        models=f"{title} models",
        slices=f"{name.capitalize()} slices",
        who=f"{title} models, by kind of customer",
        row={"": "customer", SESSION: "session"}.get(truth.by, "pair"),
        **{name: other.pop(name) for name in ("said", "means", "does", "did", "of_you") if name in other},
    )
    usual: dict[str, Any] = {
        "baseline": "base_rate",
        "rows": f"{name}.parquet",
        **FIGURES[truth.answers],
        "slices": CUSTOMER_SLICES,
        "baseline_setting": f"{name}_baseline",
    }
    return Task(name, truth=truth, words=words, **(usual | other))
