"""Validation NDCG@10 after each epoch, computed in NumPy alike for every system: peers import this in environments
of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

K = 10
BATCH = 512
Score = Callable[[list[np.ndarray]], np.ndarray]  # histories (item ids, oldest first) -> scores (B, n_items + 1)


@dataclass
class Quality:
    """The validation requests of a split: full ranking over the catalogue, items of the history excluded."""

    histories: list[np.ndarray]
    target: np.ndarray  # one item per request
    n_items: int
    patience: int  # epochs without a better NDCG@10 before training ends
    limit_s: float  # of training; the curve says so where this ended it
    curve: list[float] = field(default_factory=list)
    spent: float = 0.0  # seconds in here: not counted as training

    @classmethod
    def of(cls, file: str | Path, patience: int, limit_s: float) -> Quality:
        """From `save`'s file."""
        with np.load(file, allow_pickle=False) as data:
            histories = np.split(data["item"], data["offsets"][1:-1])
            return cls(histories, data["target"], int(data["n_items"]), patience, limit_s)

    def measured(self, score: Score, trained_s: float) -> bool:
        """Add the figure of an epoch; whether training may end."""
        start = time.perf_counter()
        gains = np.zeros(len(self.target))
        for first in range(0, len(self.target), BATCH):
            some = slice(first, first + BATCH)
            gains[some] = ndcg(score(self.histories[some]), self.histories[some], self.target[some])
        self.curve.append(float(gains.mean()))
        self.spent += time.perf_counter() - start
        waited = len(self.curve) - 1 - int(np.argmax(self.curve))
        return waited >= self.patience or trained_s > self.limit_s


def ndcg(score_BV: np.ndarray, histories: list[np.ndarray], target_B: np.ndarray) -> np.ndarray:
    """NDCG@10 of each request with one target; ties count half; -inf: an item that the system does not know."""
    score_BV = np.array(score_BV, np.float32)
    score_BV[:, 0] = -np.inf
    row_B = np.arange(len(target_B))
    own_B = score_BV[row_B, target_B]
    seen_N = np.repeat(row_B, [len(h) for h in histories])
    score_BV[seen_N, np.concatenate(histories)] = -np.inf
    score_BV[row_B, target_B] = own_B
    better_B = (score_BV > own_B[:, None]).sum(1)
    same_B = (score_BV == own_B[:, None]).sum(1) - 1
    rank_B = 1 + better_B + same_B / 2
    return np.where((rank_B <= K) & np.isfinite(own_B), 1 / np.log2(rank_B + 1), 0.0)


def padded(histories: list[np.ndarray], id_of: np.ndarray, length: int, left: bool = True, pad: int = 0) -> np.ndarray:
    """The newest `length` items as a rectangle (B, length) in a system's own ids; `id_of` is -1 where it has none."""
    x_BL = np.full((len(histories), length), pad, np.int64)
    for row, history in enumerate(histories):
        own = id_of[history]
        own = own[own >= 0][-length:]
        x_BL[row, slice(length - len(own), None) if left else slice(len(own))] = own
    return x_BL


def to_our_items(score_BT: np.ndarray, id_of: np.ndarray) -> np.ndarray:
    """A system's scores (B, its ids) under our item ids: (B, n_items + 1)."""
    known = np.flatnonzero(id_of >= 0)
    score_BV = np.full((len(score_BT), len(id_of)), -np.inf, np.float32)
    score_BV[:, known] = score_BT[:, id_of[known]]
    return score_BV


def save(file: Path, histories: list[np.ndarray], target: np.ndarray, n_items: int) -> None:
    """For `Quality.of`."""
    offsets = np.append(0, np.cumsum([len(h) for h in histories]))
    np.savez(file, item=np.concatenate(histories), offsets=offsets, target=target, n_items=n_items)
