"""Candidates of requests on their way through steps that put them in another order.

Shapes: B requests, N candidates of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Lists:
    """Candidates, best first."""

    item: np.ndarray  # int32 (B, N) internal ids; 0 = none, behind all others
    value: np.ndarray  # float64 (B, N) in [0, 1], never increasing; 0 where there is none

    @classmethod
    def of(cls, item_BN: np.ndarray, score_BN: np.ndarray) -> Lists:
        """From a model's best: a score that is not finite is no candidate; values are spread over [0, 1] by request.

        Scores of different models mean different things; what a step weighs against must not depend on their unit.
        """
        there = (item_BN > 0) & np.isfinite(score_BN)
        score = np.where(there, score_BN, np.nan).astype(np.float64)
        empty = ~there.any(axis=1)
        score[empty] = 0
        low, high = np.nanmin(score, axis=1, keepdims=True), np.nanmax(score, axis=1, keepdims=True)
        value = np.where(high > low, (score - low) / np.where(high > low, high - low, 1), 1.0)
        value = np.where(there, value, -1.0)
        return cls(item_BN, value)._sorted()

    def put(self, rank_BN: np.ndarray) -> Lists:
        """In the order of these ranks (equal ones as they stood), with values that fall evenly from 1 to 0."""
        order = np.argsort(np.where(self.item > 0, rank_BN, np.inf), axis=1, kind="stable")
        item = np.take_along_axis(self.item, order, axis=1)
        n = (item > 0).sum(axis=1, keepdims=True)
        value = 1 - np.arange(item.shape[1]) / np.maximum(n - 1, 1)
        return Lists(item, np.where(item > 0, value, 0.0))

    def valued(self, value_BN: np.ndarray) -> Lists:
        """With other values, and so in another order."""
        return Lists(self.item, np.where(self.item > 0, value_BN, -1.0))._sorted()

    def without(self, gone_BN: np.ndarray) -> Lists:
        """The candidates that stay, in the order and with the values that they had."""
        item = np.where(gone_BN, 0, self.item)
        order = np.argsort(item == 0, axis=1, kind="stable")
        item = np.take_along_axis(item, order, axis=1)
        return Lists(item, np.where(item > 0, np.take_along_axis(self.value, order, axis=1), 0.0))

    def _sorted(self) -> Lists:
        order = np.argsort(-self.value, axis=1, kind="stable")
        item, value = (np.take_along_axis(x, order, axis=1) for x in (self.item, self.value))
        return Lists(np.where(value >= 0, item, 0).astype(np.int32), np.maximum(value, 0.0))


def filled(item_BK: np.ndarray, more_BK: np.ndarray) -> np.ndarray:
    """Lists with what others hold behind them, each item once, as long as they were."""
    both = np.concatenate([item_BK, more_BK], axis=1)
    B, width = both.shape
    key = np.arange(B)[:, None] * (int(both.max(initial=0)) + 1) + both
    kept = np.zeros(both.size, bool)
    kept[np.unique(key, return_index=True)[1]] = True
    kept &= both.ravel() > 0
    order = np.argsort(~kept.reshape(B, width), axis=1, kind="stable")[:, : item_BK.shape[1]]
    return np.where(np.take_along_axis(kept.reshape(B, width), order, 1), np.take_along_axis(both, order, 1), 0)
