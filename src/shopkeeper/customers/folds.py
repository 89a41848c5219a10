"""Rows of a cohort by their positions, and cross-fitting over customers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shopkeeper.customers.base import Cohort, Further


def folds_by_customer(customer: np.ndarray, seed: int, folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(training rows, held-out rows) of each fold; all rows of a customer lie in one fold."""
    people, person = np.unique(customer, return_inverse=True)
    fold = (np.random.default_rng(seed).permutation(len(people)) % folds)[person]
    return [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(folds)]


def rows_of(cohort: Cohort, rows: np.ndarray) -> Cohort:
    """The cohort's rows at these positions."""
    names = ("customer", "cutoff", "features", "start", "end", "observed_until")
    label = None if cohort.label is None else cohort.label[rows]
    subject, session = (None if values is None else values[rows] for values in (cohort.subject, cohort.session))
    others = {name: getattr(cohort, name)[rows] for name in names}
    further = {name: Further(one.label[rows], one.answers) for name, one in cohort.further.items()}
    return replace(cohort, label=label, further=further, subject=subject, session=session, **others)
