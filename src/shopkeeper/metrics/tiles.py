"""Which cells of a tile of requests and catalogue columns hold targets, seen items and candidates.

Shapes: n requests, C items in the catalogue, W columns of a block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shopkeeper.errors import UserError
from shopkeeper.metrics.ranks import Flat
from shopkeeper.metrics.sorted_keys import among, distinct


def checked_catalogue(catalogue: np.ndarray | None, n_columns: int) -> np.ndarray:
    """Item ids that may be recommended, int64 (C,); None: 1 to `n_columns` - 1. A `UserError` where they do not fit."""
    catalogue = np.arange(1, n_columns) if catalogue is None else np.asarray(catalogue, np.int64)
    if len(catalogue) == 0:
        raise UserError("the catalogue is empty: there is nothing to rank; check the split's catalogue.npy")
    if catalogue.min() < 1 or catalogue.max() >= n_columns:
        raise UserError(
            f"the catalogue holds items {catalogue.min()} to {catalogue.max()}, but scores have {n_columns} "
            f"columns; give a column to each item of it, and column 0 to none"
        )
    return catalogue


@dataclass(frozen=True)
class Columns:
    """How the catalogue lies in the columns of a tile: `n_blocks` blocks of `block` columns, the last ones empty."""

    column: np.ndarray  # int64 (n_items + 1,): item id -> column, -1: not in the catalogue
    size: int  # items in the catalogue
    block: int
    n_blocks: int

    @classmethod
    def of(cls, catalogue: np.ndarray, n_columns: int, block: int | None = None, n_blocks: int = 1) -> Columns:
        """In the order of the catalogue; without `block` all in one."""
        column = np.full(n_columns, -1, np.int64)
        column[catalogue] = np.arange(len(catalogue))
        return cls(column, len(catalogue), block or len(catalogue), n_blocks)

    def keys(self, lists: Flat) -> tuple[np.ndarray, np.ndarray]:
        """Row of the list times catalogue size plus column, and the column; -1 for an item not in the catalogue."""
        item = np.asarray(lists.item, np.int64)
        known = (item > 0) & (item < len(self.column))
        column = np.where(known, self.column[np.where(known, item, 0)], -1)
        row = np.repeat(np.arange(len(lists.offsets) - 1, dtype=np.int64), np.diff(lists.offsets))
        return np.where(column >= 0, row * self.size + column, -1), column


class Cells:
    """Cells of a tile (row, column), sorted by block of columns."""

    def __init__(self, row: np.ndarray, column: np.ndarray, block: int, n_blocks: int):
        of_block, within = np.divmod(column, block)
        # NumPy sorts 16 bits stably in linear time.
        order = np.argsort(of_block.astype(np.int16 if n_blocks < 2**15 else np.int64), kind="stable")
        self.index = order
        self.cell = (row * block + within)[order]
        self.edges = np.concatenate([[0], np.cumsum(np.bincount(of_block, minlength=n_blocks))])

    def block(self, b: int) -> tuple[np.ndarray, np.ndarray]:
        """Which cells lie in block b, and their flat positions in it."""
        span = slice(self.edges[b], self.edges[b + 1])
        return self.index[span], self.cell[span]


class Tile:
    """Where the targets, seen items and candidates of some requests lie in a tile.

    Requests with many targets come first: those with more than j targets are then the first rows.
    """

    def __init__(self, columns: Columns, targets: Flat, seen: Flat | None, candidates: Flat | None):
        n, size = len(targets.offsets) - 1, columns.size
        key, column = columns.keys(targets)
        gone = None if seen is None else distinct(columns.keys(seen)[0])
        only = None if candidates is None else distinct(columns.keys(candidates)[0])
        self.rankable = column >= 0
        count = np.full(n, size, np.int64)
        if only is not None:
            count = np.bincount(only // size, minlength=n)
            self.rankable &= among(only, key)
        if gone is not None:
            hidden = gone if only is None else gone[among(only, gone)]
            count = count - np.bincount(hidden // size, minlength=n)
            self.rankable &= ~among(gone, key)
        key = key[self.rankable]
        n_targets = np.bincount(key // size, minlength=n)
        self.order = np.argsort(-n_targets, kind="stable")
        self.n_candidates = count[self.order]
        place = np.empty(n, np.int64)
        place[self.order] = np.arange(n)
        first = np.cumsum(n_targets) - n_targets
        most = int(n_targets.max(initial=0))
        self.waves = [first[self.order[: (n_targets > j).sum()]] + j for j in range(most)]  # the j-th of each row's
        self.row, self.column = place[key // size], key % size

        def cells(keys: np.ndarray) -> Cells:
            return Cells(place[keys // size], keys % size, columns.block, columns.n_blocks)

        self.own = cells(key)
        self.gone = None if gone is None else cells(gone)
        self.only = None if only is None else cells(only)
