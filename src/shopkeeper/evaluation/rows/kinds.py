"""What a table holds beside who was asked: what is true, what was answered, and which figures are no means over rows.

Rows about items (the answer is a list), about labels (a probability), about totals (the mean of a count or of an
amount of money) and about waits (quantiles of days) are one table with other columns. What is declared here is all that
reading, summarising and comparing know of the difference.

Shapes: n rows that have an answer, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.evaluation.intervals import finite
from shopkeeper.evaluation.layout import CUSTOMER_ROWS, REQUEST_ROWS, TOTAL_ROWS, WAIT_ROWS
from shopkeeper.formats import Field
from shopkeeper.metrics.classification import auroc, average_precision, brier, log_loss
from shopkeeper.metrics.classification_gains import lift_quality
from shopkeeper.metrics.classification_reliability import ece
from shopkeeper.metrics.value import normalised_gini, rmse, spearman, total_bias
from shopkeeper.metrics.waiting import concordance

Meta = Mapping[str, Any]  # what a table says of itself
Entry = dict[str, float | int | None]  # {"value", "low", "high", "n"}; None: not a number, which JSON has not


@dataclass(frozen=True)
class Aggregate:
    """A figure over rows that is no mean of them."""

    value: Callable[[np.ndarray, np.ndarray, np.ndarray | None], Any]  # of truth (n,), answer (n,), weights (R, n)
    made_of: tuple[str, Callable[[np.ndarray], np.ndarray]] | None = None  # an aggregate before it whose resamples tell
    in_units: bool = False  # measured in what the truth is measured in, as money
    grows: bool = False  # by the noise that a resample adds to the sample's: its interval is moved back, from 0 up


@dataclass(frozen=True)
class Answered:
    """The rows that have an answer, the highest first: n of them, and `n_blank` others."""

    truth: np.ndarray  # float64 (n,)
    answer: np.ndarray  # float64 (n,)
    customer: np.ndarray  # int64 (n,), numbers 0..C-1 in the order of external ids
    n_blank: int


@dataclass(frozen=True)
class Kind:
    """What the rows of one kind of question hold."""

    columns: tuple[Field, ...] = ()
    truth: tuple[str, ...] = ()  # of the columns: what is true,
    answer: tuple[str, ...] = ()  # and what was said of it. The first of a kind is in no other kind's table
    aggregates: Mapping[str, Aggregate] = field(default_factory=dict)  # how good the answers are
    of_truth: Mapping[str, Aggregate] = field(default_factory=dict)  # what the rows are, whoever answers
    others: Callable[[pa.Table, Meta], dict[str, Entry]] = lambda table, meta: {}  # figures that are not resampled
    in_units: bool = False  # whether metrics of rows are measured in what the truth is measured in

    def unit(self, table: pa.Table) -> float:
        """What the smallest difference that matters is a share of: the mean truth, or 1 where metrics have no unit."""
        if not self.in_units:
            return 1.0
        return float(f"{np.abs(floats(table, self.truth[0])).mean():.1g}") or 1.0

    def answered(self, table: pa.Table) -> Answered:
        """Truth and answer of a table's rows, as aggregates take them."""
        answer = floats(table, self.answer[0])
        rows = np.argsort(-answer, kind="stable")[: int((~np.isnan(answer)).sum())]  # NaN comes last
        customer = np.unique(table["user_id"].to_numpy(zero_copy_only=False)[rows], return_inverse=True)[1]
        return Answered(floats(table, self.truth[0])[rows], answer[rows], customer, len(answer) - len(rows))


def floats(table: pa.Table, column: str) -> np.ndarray:
    """A column as float64, null as NaN."""
    return np.asarray(table[column].cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def base_rate(label: np.ndarray, probability: np.ndarray, weight: np.ndarray | None = None) -> Any:
    """The share of label 1: what average precision is for random scores."""
    return label.mean() if weight is None else (weight @ label) / weight.sum(axis=1)


def _of_lists(table: pa.Table, meta: Meta) -> dict[str, Entry]:
    """`coverage@k` and `gini@k`."""
    from shopkeeper.evaluation.beyond import set_statistics

    return set_statistics(table, meta["k"], meta["n_catalogue"])


def bias(actual: np.ndarray, forecast: np.ndarray, weight: np.ndarray | None = None) -> Any:
    """How far what is expected of all together is off, in percent of what it was."""
    return 100 * total_bias(actual, forecast, weight)


def absolute_bias(actual: np.ndarray, forecast: np.ndarray, weight: np.ndarray | None = None) -> Any:
    """The same whatever its sign: less is better."""
    return np.abs(bias(actual, forecast, weight))


def mean_total(actual: np.ndarray, forecast: np.ndarray, weight: np.ndarray | None = None) -> Any:
    """What a customer ordered or spent."""
    return base_rate(actual, forecast, weight)


def _scored(rows: Answered) -> Entry:
    """The share of rows with an answer."""
    n, n_all = len(rows.truth), len(rows.truth) + rows.n_blank
    return {"value": n / n_all if n else 0.0, "low": None, "high": None, "n": n_all}


def _of_totals(table: pa.Table, meta: Meta) -> dict[str, Entry]:
    """How many rows have an answer."""
    return {"scored": _scored(TOTALS.answered(table))}


def _of_waits(table: pa.Table, meta: Meta) -> dict[str, Entry]:
    """How many rows have an answer."""
    return {"scored": _scored(WAITS.answered(table))}


def _of_probabilities(table: pa.Table, meta: Meta) -> dict[str, Entry]:
    """What log loss and Brier score are made of, what a calibrated model would show, how many rows have a score.

    Brier score is `brier_miscalibration - brier_discrimination + brier_uncertainty`, which are fitted.
    `ece_if_calibrated` has the interval of its simulation.
    """
    from shopkeeper.metrics.classification import BrierParts, brier_decomposition
    from shopkeeper.metrics.classification_reliability import ece_if_calibrated

    rows = LABELS.answered(table)
    n, scored = len(rows.truth), _scored(rows)
    if n == 0:
        names = (*(f"brier_{name}" for name in BrierParts._fields), "ece_if_calibrated")
        return {**{name: {"value": None, "low": None, "high": None, "n": 0} for name in names}, "scored": scored}
    parts = brier_decomposition(rows.truth, rows.answer)._asdict()
    found: dict[str, Entry] = {
        f"brier_{name}": {"value": finite(value), "low": None, "high": None, "n": n} for name, value in parts.items()
    }
    calibrated = ece_if_calibrated(rows.answer, seed=0)
    found["ece_if_calibrated"] = {"value": calibrated.value, "low": calibrated.low, "high": calibrated.high, "n": n}
    return found | {"scored": scored}


ITEMS = Kind(REQUEST_ROWS, ("targets",), ("top_items", "top_scores", "ranks"), others=_of_lists)
LABELS = Kind(
    CUSTOMER_ROWS,
    ("label",),
    ("probability", "blank_reason"),
    {
        "auroc": Aggregate(auroc),
        "average_precision": Aggregate(average_precision),
        "log_loss": Aggregate(log_loss),
        "brier": Aggregate(brier),
        "ece": Aggregate(ece, grows=True),
        "lift_quality": Aggregate(lift_quality, ("auroc", lambda auroc_R: 2 * auroc_R - 1)),
    },
    {"base_rate": Aggregate(base_rate)},
    _of_probabilities,
)
TOTALS = Kind(
    TOTAL_ROWS,
    ("actual",),
    ("expected", "blank_reason"),
    {
        "rmse": Aggregate(rmse, in_units=True),
        "bias": Aggregate(bias),
        "absolute_bias": Aggregate(absolute_bias, grows=True),
        "normalised_gini": Aggregate(normalised_gini),
        "spearman": Aggregate(spearman),
    },
    {"mean_total": Aggregate(mean_total)},
    _of_totals,
    in_units=True,
)
WAITS = Kind(
    WAIT_ROWS,
    ("waited",),
    ("days", "quantiles", "blank_reason"),
    {"concordance": Aggregate(concordance)},
    {"mean_total": Aggregate(mean_total)},
    _of_waits,
    in_units=True,
)
KINDS: tuple[Kind, ...] = (ITEMS, LABELS, TOTALS, WAITS)


def given() -> set[str]:
    """Columns of truth and answer of all kinds: numbers among them are no metrics."""
    return {name for kind in KINDS for name in (*kind.truth, *kind.answer)}


def kind_of(table: pa.Table) -> Kind:
    """Which kind of rows a table holds; a kind without aggregates where it has the answers of none."""
    return next((kind for kind in KINDS if kind.answer[0] in table.column_names), Kind())
