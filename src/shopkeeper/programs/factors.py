"""Matrix factorisations: the vector of a request, folded in from its own history. The models answer with this, too.

Formulas and sources stand with the models (`recommenders/factors/`).

Shapes: B requests, V = n_items + 1 columns, D width, L items of a history (padded), M items to compare with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]
Fold = Callable[[np.ndarray, np.ndarray, Arrays], np.ndarray]  # weights and items (B, L) -> request vectors (B, D)
CELLS = 4_000_000  # B x L x D of one block of requests: some 16 MiB
AGAINST = 32  # M
STEPS = 30


def folded(indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, a: Arrays, fold: Fold) -> np.ndarray:
    """Request vectors float32 (B, D) from the weights of the histories' items as a sparse table; 0 without any."""
    width = a["item"].shape[1]
    length_B = np.diff(indptr)
    vector_BD = np.zeros((len(length_B), width), np.float32)
    order = np.argsort(length_B, kind="stable")
    order = order[length_B[order] > 0]
    while len(order):  # histories of about one length together, the longest first
        longest = int(length_B[order[-1]])
        here = order[-max(1, CELLS // (longest * width)) :]
        order = order[: -len(here)]
        place_BL = indptr[here][:, None] + np.arange(longest)
        inside_BL = place_BL < indptr[here + 1][:, None]
        place_BL = np.where(inside_BL, place_BL, 0)
        weight_BL = np.where(inside_BL, data[place_BL], np.float32(0))
        vector_BD[here] = fold(weight_BL, indices[place_BL], a)
    return vector_BD


def ials(weight_BL: np.ndarray, item_BL: np.ndarray, a: Arrays) -> np.ndarray:
    """The exact solution for each history: float64 (B, D)."""
    more_BL = a["alpha"][0] * weight_BL.astype(np.float64)
    item_BLD = a["item"][item_BL].astype(np.float64)
    left_BDD = a["all"] + np.swapaxes(item_BLD * more_BL[:, :, None], 1, 2) @ item_BLD
    right_BD = np.where(weight_BL > 0, 1 + more_BL, 0)[:, None, :] @ item_BLD
    vector_BD: np.ndarray = np.linalg.solve(left_BDD, np.swapaxes(right_BD, 1, 2))[:, :, 0]
    return vector_BD


def bpr(weight_BL: np.ndarray, item_BL: np.ndarray, a: Arrays) -> np.ndarray:
    """The maximum for each history: float64 (B, D), the last column 1 for the bias."""
    item_VD, against_M, regularisation = a["item"], a["against"], float(a["regularisation"][0])
    share_BL = weight_BL.astype(np.float64) / weight_BL.sum(axis=1, keepdims=True)
    own_BLD, own_BL = np.split(item_VD[item_BL].astype(np.float64), [-1], axis=2)
    other_MD, other_M = np.split(item_VD[against_M].astype(np.float64), [-1], axis=1)
    own_BL, other_M = own_BL[:, :, 0], other_M[:, 0]
    taken_BM = ((item_BL[:, :, None] == against_M) & (weight_BL > 0)[:, :, None]).any(axis=1)
    against_BM = np.where(taken_BM, 0, 1 / AGAINST)
    own_BD, other_BD = (share_BL[:, None, :] @ own_BLD)[:, 0], against_BM @ other_MD
    cross_BDD = own_BD[:, :, None] * other_BD[:, None, :]
    moment_BDD = np.swapaxes(own_BLD * share_BL[:, :, None], 1, 2) @ own_BLD * against_BM.sum(axis=1)[:, None, None]
    moment_BDD += (other_MD.T * against_BM[:, None, :]) @ other_MD - cross_BDD - np.swapaxes(cross_BDD, 1, 2)
    step_BDD = np.linalg.inv(moment_BDD / 4 + regularisation * np.eye(own_BD.shape[1]))
    weight_BLM = (share_BL[:, :, None] * against_BM[:, None, :]).astype(np.float32)
    vector_BD = np.zeros_like(own_BD)
    for _ in range(STEPS):
        own = (own_BLD @ vector_BD[:, :, None])[:, :, 0] + own_BL
        other = vector_BD @ other_MD.T + other_M
        wrong_BLM = _logistic((other[:, None, :] - own[:, :, None]).astype(np.float32))
        wrong_BLM *= weight_BLM
        rise_BD = (wrong_BLM.sum(axis=2)[:, None, :] @ own_BLD)[:, 0] - wrong_BLM.sum(axis=1) @ other_MD
        rise_BD -= regularisation * vector_BD
        vector_BD += (step_BDD @ rise_BD[:, :, None])[:, :, 0]
    return np.concatenate([vector_BD, np.ones((len(vector_BD), 1))], axis=1)


def _logistic(x: np.ndarray) -> np.ndarray:
    half: np.ndarray = 0.5 + 0.5 * np.tanh(0.5 * x)
    return half
