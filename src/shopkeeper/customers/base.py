"""The contract of a customer model: a cohort of customers at cutoffs in; probabilities, counts or amounts out.

Shapes: n rows (customer, cutoff), F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Events
from shopkeeper.features.customer.declared import USUAL, Features
from shopkeeper.features.table import Encoding
from shopkeeper.models.about import PROBABILITIES, About, Learned
from shopkeeper.models.fit import Fit
from shopkeeper.models.shares import Contributions


@dataclass(frozen=True)
class Further:
    """Another task's labels of the same rows and windows, for models that learn several at once."""

    label: np.ndarray  # float64 (n,)
    answers: str  # what they are, as of `Cohort.answers`


@dataclass(frozen=True)
class Cohort:
    """Customers at an instant: what was known strictly before it, and what happened in [cutoff, cutoff + horizon)."""

    customer: np.ndarray  # int32 (n,) internal user ids
    cutoff: np.ndarray  # int64 (n,) microseconds UTC
    features: np.ndarray  # float64 (n, F)
    feature_names: tuple[str, ...]
    events: Events  # sequence view: the history of row j is rows start[j]:end[j]
    start: np.ndarray  # int64 (n,)
    end: np.ndarray  # int64 (n,)
    observed_until: np.ndarray  # int64 (n,): the label window must end at or before this
    label: np.ndarray | None = None  # float64 (n,); None when asked about the future
    horizon_days: float = 0.0
    active_events: tuple[str, ...] = ()  # a customer is asked about after one of these …
    active_days: float | None = None  # … in so many days before the cutoff; None: at any time before it
    left_out: Mapping[str, int] = field(default_factory=dict)  # rows that are not here, by reason
    of_nothing: float = 0.0  # the label of a window that holds nothing: 1 of who leaves, else 0
    declared: Features = USUAL  # which features, where rows are of a log
    encoding: Encoding | None = None  # how rows of a table of customers became features; None: a log
    holds: str = ""  # what labels are made from: one of `window.py`; "": a table's column
    further: Mapping[str, Further] = field(default_factory=dict)  # of tasks that are learned together, by name
    subject: np.ndarray | None = None  # int32 (n,): what each row asks about beside the customer, from 1 …
    subjects: tuple[str, ...] = ()  # … of these categories or items (`subjects.py`); None: of the customer alone
    subject_kind: str = ""  # … which are categories or items
    session: np.ndarray | None = None  # int64 (n, K): rows of `events` that begin the session that is asked about
    gap_minutes: float | None = None  # … of silence end it, where the log does not say which session a row is of
    answers: str = PROBABILITIES  # what is asked for: that a label is 1, or the counts, amounts or days that labels are
    newest: int = 0  # `events` from this row on are the whole log as known last; those before it, as known earlier
    offsets: np.ndarray | None = None  # int64 (customers + 1,): whose rows of `newest_log` are whose; None: of a table

    def __len__(self) -> int:
        return len(self.customer)

    @property
    def newest_log(self) -> Events:
        """The whole log once, where cohorts were joined that each came with the log as it was known then."""
        if not self.newest:
            return self.events
        rows = slice(self.newest, None)
        columns: dict[str, Any] = {name: None if c is None else c[rows] for name, c in vars(self.events).items()}
        return replace(self.events, **columns)


@dataclass(frozen=True)
class Predictions:
    """What is expected of each label, and why a score is blank (NaN) where it is."""

    value: np.ndarray  # float64 (n,): a calibrated probability, or a mean count, amount or wait; NaN where blank
    blank_reason: np.ndarray | None = None  # str (n,), "" where scored
    low: np.ndarray | None = (
        None  # float64 (n,): of a count or an amount, the interval that holds four labels of five …
    )
    high: np.ndarray | None = None  # … NaN where blank, infinite where nothing can be promised
    quantile: np.ndarray | None = None  # of days, float64 (n, Q): at the levels of `waits.days.LEVELS`; NaN where blank
    further: Mapping[str, np.ndarray] = field(default_factory=dict)  # what is said of `Cohort.further`, float64 (n,)

    @property
    def probability(self) -> np.ndarray:
        """The same, where the label is 0 or 1."""
        return self.value


@runtime_checkable
class CustomerModel(Protocol):
    """What every customer model does."""

    @property
    def about(self) -> About:
        """What it is, and what it needs."""

    @property
    def untrainable(self) -> str:
        """Why it scores nobody; "" where it does."""

    def fit(self, train: Cohort, calibration: Cohort | None, fit: Fit) -> Learned | None:
        """Learn from `train`; calibrate on `calibration`, a later cutoff that the fit has not seen.

        What chooses when to stop is a part of `train`.
        """

    def predict(self, cohort: Cohort) -> Predictions:
        """What is expected of each row's label: the probability of 1, or the mean of what the cohort asks for."""

    def save(self, folder: Path) -> None:
        """Write the fitted state into `folder`; nothing executable."""

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""


class Chooses(CustomerModel, Protocol):
    """One whose `about.chooses` says so: it is fitted with each of its candidates, unless `Fit.chosen` names one."""

    def choose(self, cohort: Cohort) -> Learned:
        """Keep the candidate that a later, labelled cohort bears out: `chosen`, for `Fit.chosen`, and the figures."""


class NeedsDataset(CustomerModel, Protocol):
    """One whose `about.needs` names the dataset (oracles): the pipeline binds it before `fit`."""

    def bind(self, prepared: Prepared) -> None:
        """Read what it needs from the prepared dataset's manifest and tables."""


class Explains(CustomerModel, Protocol):
    """One whose `about.explains` says so."""

    def contributions(self, cohort: Cohort) -> Contributions:
        """What each feature adds to the score of each row before calibration, as it is fitted."""
