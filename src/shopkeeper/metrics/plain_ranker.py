"""Ranks from given scores on NumPy alone: what `ranker.py` gives, for few scores.

Bringing torch in takes longer than counting all scores of a small shop. Scores are only compared here, never added, so
that both rankers give the same bits.

Shapes: B requests, T rows of a tile, V = n_items + 1 columns (column 0 is padding), C items in the catalogue, N target
items in all, K length of the list.
"""

from __future__ import annotations

import numpy as np

from shopkeeper.errors import UserError
from shopkeeper.metrics.best import best_columns
from shopkeeper.metrics.ranks import Flat, NonFiniteScoreError, Ranked
from shopkeeper.metrics.tiles import Columns, Tile, checked_catalogue

FEW = 1 << 24  # scores in all: counting them takes a fraction of a second
_TILE = 1 << 18  # scores of a tile, which stay in a core's cache


class PlainRanker:
    """Ranks targets in the catalogue by scores; see `ranker.Ranker` for the arguments."""

    def __init__(self, n_columns: int, catalogue: np.ndarray | None = None, *, k: int = 0):
        catalogue = checked_catalogue(catalogue, n_columns)
        self.n_columns, self.k, self.catalogue, self.size = n_columns, k, catalogue, len(catalogue)
        self.columns = Columns.of(catalogue, n_columns)

    def rank_scores(
        self, score_BV: np.ndarray, targets: Flat, seen: Flat | None = None, candidates: Flat | None = None
    ) -> Ranked:
        """Rank by given scores (B, V); they are not changed."""
        score_BV = np.asarray(score_BV)
        if score_BV.ndim != 2 or score_BV.shape[1] != self.n_columns:
            raise UserError(f"scores have the shape {score_BV.shape}; expected {self.n_columns} columns")
        n, step = len(score_BV), max(_TILE // self.size, 1)
        assert len(targets.offsets) == n + 1, "one list of targets per request"
        better, tied = np.full(len(targets.item), -1, np.int64), np.zeros(len(targets.item), np.int64)
        count = np.zeros(n, np.int64)
        top_item, top_score = np.zeros((n, self.k), np.int32), np.full((n, self.k), -np.inf, np.float32)
        for first in range(0, n, step):
            last = min(first + step, n)
            lists = (None if x is None else x.rows(first, last) for x in (targets, seen, candidates))
            tile = Tile(self.columns, *lists)  # type: ignore[arg-type]
            rows = first + tile.order
            score_TC = score_BV[rows[:, None], self.catalogue[None, :]].astype(np.float32, copy=False)
            self._refuse(score_TC, rows)
            own_N = score_TC[tile.row, tile.column]
            _hide(score_TC, tile)
            above_N, reach_N = np.zeros(len(own_N), np.int64), np.zeros(len(own_N), np.int64)
            for target in tile.waves:
                score_mC, own_m1 = score_TC[: len(target)], own_N[target][:, None]
                above_N[target] = np.count_nonzero(score_mC > own_m1, axis=1)
                reach_N[target] = np.count_nonzero(score_mC >= own_m1, axis=1)
            at = targets.offsets[first] + np.flatnonzero(tile.rankable)
            better[at], tied[at] = above_N, reach_N - above_N - 1  # a target reaches its own score
            count[rows] = tile.n_candidates
            if self.k:
                column = best_columns(score_TC, self.k)
                value = np.take_along_axis(score_TC, column, axis=1)
                item = np.where(np.isneginf(value), 0, self.catalogue[column])
                top_item[rows, : item.shape[1]], top_score[rows, : item.shape[1]] = item, value
        return Ranked(better, tied, count, top_item, top_score)

    def _refuse(self, score_TC: np.ndarray, rows: np.ndarray) -> None:
        """Refuse NaN and infinity, the first request's first."""
        fine_TC = np.isfinite(score_TC)
        if not fine_TC.all():
            row = min(np.flatnonzero(~fine_TC.all(1)), key=lambda row: int(rows[row]))
            column = int(np.flatnonzero(~fine_TC[row])[0])
            raise NonFiniteScoreError(int(rows[row]), int(self.catalogue[column]), float(score_TC[row, column]))


def _hide(score_TC: np.ndarray, tile: Tile) -> None:
    """Put -inf where an item is no candidate or was seen."""
    flat = score_TC.reshape(-1)
    if tile.only is not None:
        kept = flat[tile.only.cell]
        flat[:] = -np.inf
        flat[tile.only.cell] = kept
    if tile.gone is not None:
        flat[tile.gone.cell] = -np.inf
