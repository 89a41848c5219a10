"""A network that is asked of customers and categories, or items: a head for each of them, over one history.

What was bought of which is in the history already, so that no feature of a pair is read: the rows of a customer become
one again, the first subject is what is asked, and the others are learnt with it as further tasks are.

Shapes: n rows (customer, cutoff), C subjects, n * C pairs in the order of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from shopkeeper.customers.base import Cohort, Further, Predictions
from shopkeeper.customers.folds import rows_of

OFTEN = 5  # training events of an item that is told from others, where nothing is said: who asks of which, reads which


def of_customers(pairs: Cohort) -> Cohort:
    """A labelled cohort of all pairs (n * C) as one of customers (n) with C labels each; another cohort as it is."""
    if pairs.subject is None:
        return pairs
    C = len(pairs.subjects)
    assert pairs.label is not None
    assert (pairs.subject.reshape(-1, C) == np.arange(1, C + 1)).all(), "pairs stand in the order of rows"
    label_nC = pairs.label.reshape(-1, C)
    further = {name: Further(label_nC[:, c], pairs.answers) for c, name in enumerate(pairs.subjects) if c}
    return replace(_alone(pairs, np.arange(0, len(pairs), C)), label=label_nC[:, 0], further=further)


def said_of_pairs(predict: Callable[[Cohort], Predictions], pairs: Cohort) -> Predictions:
    """What a network with C heads says of pairs, whichever of them are asked about, in their order."""
    assert pairs.subject is not None
    asked, row, of = np.unique(
        np.stack([pairs.cutoff, pairs.customer.astype(np.int64)]), axis=1, return_index=True, return_inverse=True
    )
    found = predict(_alone(pairs, row))
    value_nC = np.stack([found.value, *found.further.values()], axis=1)
    assert value_nC.shape == (asked.shape[1], len(pairs.subjects)), "trained on other subjects"
    of = of.ravel()
    reason = None if found.blank_reason is None else found.blank_reason[of]
    return Predictions(value_nC[of, pairs.subject - 1], reason)


def _alone(pairs: Cohort, rows: np.ndarray) -> Cohort:
    """Some rows as customers of whom nothing else is asked."""
    some = rows_of(replace(pairs, label=None, subject=None), rows)
    return replace(some, subjects=(), subject_kind="")
