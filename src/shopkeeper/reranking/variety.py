r"""Variety: a list whose items differ from each other, or that has the mix of what the customer took.

    mmr         next i = argmax (1 - w) rel(i) - w max_{j chosen} sim(i, j)
    calibrated  next i = argmax (1 - w) rel(i) - w KL(p || (1 - a) q(chosen + i) + a p),   a = 0.01

with sim the share of attributes in which two items are the same (unknown ones never are), p the shares of an
attribute's values in the history and q those in the list. Both choose one after another; ties go to the better place.
J. Carbonell and J. Goldstein, "The use of MMR, diversity-based reranking for reordering documents and producing
summaries", SIGIR 1998; H. Steck, "Calibrated recommendations", RecSys 2018.

Shapes: B requests, N candidates, A attributes, C values of an attribute (0 is unknown).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from shopkeeper.reranking.lists import Lists

SMOOTHING = 0.01  # a of `calibrated`: keeps the divergence finite


def mmr(lists: Lists, code_ABN: np.ndarray, weight: float, k: int) -> Lists:
    """The first k by maximal marginal relevance, then the others as they stood; `code_ABN` int, 0 = unknown."""
    near_BN = np.zeros(lists.item.shape)

    def gain() -> np.ndarray:
        return (1 - weight) * lists.value - weight * near_BN

    def chosen(place_B: np.ndarray) -> None:
        its_AB1 = np.take_along_axis(code_ABN, place_B[None, :, None], axis=2)
        same_BN = ((code_ABN == its_AB1) & (its_AB1 > 0)).mean(axis=0)
        np.maximum(near_BN, same_BN, out=near_BN)

    return _one_by_one(lists, k, gain, chosen)


def calibrated(lists: Lists, code_BN: np.ndarray, wanted_BC: np.ndarray, weight: float, k: int) -> Lists:
    """The first k with a mix of an attribute like `wanted_BC`, then the others as they stood.

    Args:
        lists: candidates.
        code_BN: value of the attribute of each, 0 = unknown.
        wanted_BC: shares float64 (B, C) that sum to 1; a row of zeros: this list stays as it is.
        weight: w.
        k: length of the list whose mix counts.
    """
    rows = np.arange(len(code_BN))
    count_BC = np.zeros_like(wanted_BC)
    n_chosen = 0

    def gain() -> np.ndarray:
        # The divergence if one more item of value c is in: all terms as they would be, but for c's own.
        total = n_chosen + 1
        kept_BC, more_BC = (_term(wanted_BC, counts / total) for counts in (count_BC, count_BC + 1))
        apart_BC = kept_BC.sum(axis=1, keepdims=True) - kept_BC + more_BC
        apart_BC[:, 0] = kept_BC.sum(axis=1)  # an unknown value takes a place and adds to no share
        return (1 - weight) * lists.value - weight * np.take_along_axis(apart_BC, code_BN, axis=1)

    def chosen(place_B: np.ndarray) -> None:
        nonlocal n_chosen
        np.add.at(count_BC, (rows, code_BN[rows, place_B]), 1)
        n_chosen += 1

    found = _one_by_one(lists, k, gain, chosen)
    known = wanted_BC.sum(axis=1, keepdims=True) > 0
    return Lists(np.where(known, found.item, lists.item), np.where(known, found.value, lists.value))


def _term(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    mixed = (1 - SMOOTHING) * q + SMOOTHING * p
    there = p > 0
    term: np.ndarray = np.where(there, p * np.log(np.where(there, p, 1) / np.where(there, mixed, 1)), 0.0)
    return term


def _one_by_one(lists: Lists, k: int, gain: Callable[[], np.ndarray], chosen: Callable[[np.ndarray], None]) -> Lists:
    """k times the candidate of the largest gain, of those that are left."""
    B, N = lists.item.shape
    rows, rank_BN = np.arange(B), np.full((B, N), N, np.int64)
    left_BN = lists.item > 0
    for place in range(min(k, N)):
        best_B = np.where(left_BN, gain(), -np.inf).argmax(axis=1)
        chosen(best_B)
        there = left_BN[rows, best_B]
        rank_BN[rows[there], best_B[there]] = place
        left_BN[rows, best_B] = False
    return lists.put(rank_BN)
