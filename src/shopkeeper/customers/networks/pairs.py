"""A network that is asked of customers and categories, or items: a head for each of them, over one history.

What was bought of which is in the history already, so that no feature of a pair is read: the rows of a customer become
one again, the first subject is what is asked, and the others are learnt with it as further tasks are.

Shapes: n rows (customer, cutoff), C subjects, n * C pairs in the order of rows; B histories of a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shopkeeper.customers.base import Cohort, Further, Predictions
from shopkeeper.customers.correction.calibration import FLOOR, Calibrator
from shopkeeper.customers.folds import rows_of
from shopkeeper.training.sequence_model import PlainForm

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


class Calibrated(PlainForm):
    """Histories (B, L) as a graph is given them -> the probability of each subject, calibrated: (B, C)."""

    def __init__(self, network: Any, calibrators: Sequence[Calibrator]):
        super().__init__(network)
        self.calibrators = tuple(calibrators)

    def forward(self, history_BL: Tensor, event_type_BL: Tensor, since_B: Tensor, *others_BL: Tensor) -> Tensor:
        """By the heads, whose calibrators are all smooth (`SMOOTH`)."""
        p_BC = self.network.heads.mean(self.network.heads(self.last(history_BL, event_type_BL, others_BL), since_B))
        return torch.stack([smooth(c, p) for c, p in zip(self.calibrators, p_BC.unbind(1), strict=True)], 1)


def smooth(calibrator: Calibrator, p: Tensor) -> Tensor:
    """What a calibrator without steps makes of probabilities."""
    p, told = p.clamp(FLOOR, 1 - FLOOR), {name: values[0] for name, values in calibrator.parameters.items()}
    if calibrator.method == "beta":
        p = (told["low"] * p.log() - told["high"] * (-p).log1p() + told["intercept"]).sigmoid()
    elif calibrator.method != "identity":
        p = (told["slope"] * p.logit() + told["intercept"]).sigmoid()
    return p.clamp(FLOOR, 1 - FLOOR)


def _alone(pairs: Cohort, rows: np.ndarray) -> Cohort:
    """Some rows as customers of whom nothing else is asked."""
    some = rows_of(replace(pairs, label=None, subject=None), rows)
    return replace(some, subjects=(), subject_kind="")
