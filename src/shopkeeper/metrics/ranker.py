"""Ranks by counting better scores, never by sorting or sampling: exact for every target in the full list.

Counting runs over tiles of requests in buffers that are made once, so that the peak memory does not grow with the
number of requests. Tiles always have the same shape: a request gets the same scores, bit for bit, in whatever batch
it comes. On a CPU each core works on tiles of its own: operations on a tile are too short to be shared out.

Shapes: B requests, T rows of a tile, V = n_items + 1 columns (column 0 is padding), C items in the catalogue,
D width, N target items in all, K length of the list.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from shopkeeper.errors import UserError
from shopkeeper.metrics.inner_products import packed, product
from shopkeeper.metrics.parallel import Cores, n_cores
from shopkeeper.metrics.ranks import Flat, NonFiniteScoreError, Ranked
from shopkeeper.metrics.tiles import Cells, Columns, Tile, checked_catalogue
from shopkeeper.metrics.topk import GROUP, best_columns

_BYTES = {"cpu": (128 << 20, 3 << 20), "cuda": (1 << 30, 1 << 30)}  # of a tile, of a block (the cores' own caches)


class _Room:
    """The buffers in which one core works on a tile."""

    def __init__(self, ranker: Ranker):
        shape, device = (ranker.tile, ranker.block), ranker.device
        # Without lists a block is forgotten when it has been counted, and all blocks share one buffer.
        self.score = [torch.empty(shape, device=device) for _ in range(ranker.n_blocks if ranker.k else 1)]
        self.flag = torch.empty(shape, device=device)
        self.best = torch.empty(ranker.tile, ranker.n_blocks * ranker.block // GROUP, device=device)  # of each group
        self.request_TD = torch.zeros(ranker.tile, ranker.width, device=device)
        self.loaded = torch.empty(0)  # which requests' vectors stand in `request_TD`


_Fill = Callable[
    [_Room, torch.Tensor, "int | torch.Tensor", torch.Tensor], torch.Tensor
]  # …, rows, block or columns, out


class Ranker:
    """Ranks targets in the catalogue, from scores or from vectors whose inner products are the scores.

    Made once per model and used for any number of batches; owns the buffers. A tile of T requests is worked on in
    blocks of W columns that stay in the cache: fill, hide what was seen, compare with the targets' scores, add up.
    """

    def __init__(
        self,
        n_columns: int,
        catalogue: np.ndarray | None = None,
        *,
        item_VD: np.ndarray | torch.Tensor | None = None,
        fallback_V: np.ndarray | torch.Tensor | None = None,
        k: int = 0,
        tile: int | None = None,
        device: torch.device | str = "cpu",
    ):
        """`n_columns` = n_items + 1; `catalogue`: item ids that may be recommended (None: 1..n_items).

        `item_VD` float32 (V, D) and `fallback_V` float32 (V,) are what `rank_vectors` multiplies by and shows to
        requests without a vector. `k`: length of the lists, 0 for none; a `k` beyond the catalogue gives lists
        that end early. `tile`: rows per tile; the default keeps it under 128 MiB (1 GiB on CUDA).
        """
        self.device = torch.device(device)
        catalogue = checked_catalogue(catalogue, n_columns)
        self.n_columns, self.k, self.catalogue, self.size = n_columns, k, catalogue, len(catalogue)
        self._items = torch.from_numpy(catalogue).to(self.device)
        whole, part = _BYTES.get(self.device.type, _BYTES["cpu"])
        self.tile = tile or int(np.clip(whole // (4 * self.size) // 16 * 16, 16, 512))
        self.n_blocks = -(-self.size // max(part // (4 * self.tile), GROUP))
        self.block = -(-self.size // self.n_blocks // GROUP) * GROUP
        self.columns = Columns.of(catalogue, n_columns, self.block, self.n_blocks)
        self.width = 0 if item_VD is None else item_VD.shape[1]
        self._rooms: list[_Room] = []
        self._item_CD: torch.Tensor | None = None
        self._fallback_C: torch.Tensor | None = None
        self._bound = float("inf")
        if item_VD is not None:
            item_CD = torch.as_tensor(item_VD).to(self.device, torch.float32)[self._items]
            _refuse(item_CD, lambda row, _, value: self._broken("item vector", row, value))
            self._item_CD = torch.zeros(self.n_blocks * self.block, item_CD.shape[1], device=self.device)
            self._item_CD[: self.size] = item_CD
            self._bound = float(torch.finfo(torch.float32).max) / max(float(item_CD.norm(dim=1).max()), 1e-30)
            self._item_bWD = [packed(item_WD, self.tile) for item_WD in self._item_CD.split(self.block)]
        if fallback_V is not None:
            fallback_C = torch.as_tensor(fallback_V).to(self.device, torch.float32)[self._items]
            _refuse(fallback_C[:, None], lambda row, _, value: self._broken("fallback score", row, value))
            self._fallback_C = torch.nn.functional.pad(fallback_C, (0, self.n_blocks * self.block - self.size))

    @torch.inference_mode()
    def rank_vectors(
        self,
        request_BD: np.ndarray | torch.Tensor,
        targets: Flat,
        seen: Flat | None = None,
        candidates: Flat | None = None,
        blank_B: np.ndarray | torch.Tensor | None = None,
    ) -> Ranked:
        """Rank by inner product with the item vectors; rows where `blank_B` is true get the fallback scores."""
        item_CD, fallback_C = self._item_CD, self._fallback_C
        assert item_CD is not None, "Ranker was made without item vectors"
        request_BD = torch.as_tensor(request_BD).to(self.device, torch.float32)
        blank = torch.zeros(len(request_BD), dtype=torch.bool) if blank_B is None else torch.as_tensor(blank_B)
        blank = blank.to(self.device)
        if bool(blank.any()):  # a blank vector may hold anything
            assert fallback_C is not None, "Ranker was made without fallback scores"
            request_BD = request_BD.masked_fill(blank[:, None], 0.0)
        _refuse(request_BD, lambda row, _, value: NonFiniteScoreError(row, 0, value))
        safe = bool((request_BD.norm(dim=1) < self._bound).all())  # Cauchy-Schwarz: no product can overflow

        any_blank = bool(blank.any())

        def fill(room: _Room, rows_T: torch.Tensor, at: int | torch.Tensor, out: torch.Tensor) -> torch.Tensor:
            n = len(rows_T)
            if rows_T is not room.loaded:  # the first block of a tile
                room.loaded = rows_T
                room.request_TD[:n] = request_BD[rows_T]
                room.request_TD[n:] = 0.0  # always the whole tile: products of one shape have the same bits
            score = product(room.request_TD, self._item_bWD[at] if isinstance(at, int) else item_CD[at], out)
            if any_blank and fallback_C is not None:
                score[:n][blank[rows_T]] = fallback_C[self._columns(at)]
            return score

        return self._rank(len(request_BD), fill, targets, seen, candidates, check=not safe)

    @torch.inference_mode()
    def rank_scores(
        self,
        score_BV: np.ndarray | torch.Tensor,
        targets: Flat,
        seen: Flat | None = None,
        candidates: Flat | None = None,
    ) -> Ranked:
        """Rank by given scores (B, V); they are not changed."""
        score_BV = torch.as_tensor(score_BV)
        if score_BV.ndim != 2 or score_BV.shape[1] != self.n_columns:
            raise UserError(f"scores have the shape {tuple(score_BV.shape)}; expected {self.n_columns} columns")
        items = torch.nn.functional.pad(self._items, (0, self.n_blocks * self.block - self.size)).to(score_BV.device)

        def fill(room: _Room, rows_T: torch.Tensor, at: int | torch.Tensor, out: torch.Tensor) -> torch.Tensor:
            columns = items[self._columns(at)]
            out[: len(rows_T)] = score_BV[rows_T.to(score_BV.device)[:, None], columns[None, :]]
            return out

        return self._rank(len(score_BV), fill, targets, seen, candidates, check=True)

    def _rank(
        self, n: int, fill: _Fill, targets: Flat, seen: Flat | None, candidates: Flat | None, check: bool
    ) -> Ranked:
        assert len(targets.offsets) == n + 1, "one list of targets per request"
        better, tied = np.empty(len(targets.item), np.int64), np.empty(len(targets.item), np.int64)
        count = np.full(n, self.size, np.int64)
        top_item, top_score = np.zeros((n, self.k), np.int32), np.full((n, self.k), -np.inf, np.float32)

        def work(room: _Room, first: int) -> None:
            last = min(first + self.tile, n)
            tile = Tile(self.columns, targets.rows(first, last), _cut(seen, first, last), _cut(candidates, first, last))
            rows = first + tile.order
            lo, hi = targets.offsets[first], targets.offsets[last]
            better[lo:hi], tied[lo:hi] = self._count(room, torch.from_numpy(rows).to(self.device), fill, tile, check)
            count[rows] = tile.n_candidates
            if self.k:
                blocks = [score[: len(rows)] for score in room.score]
                value, column = best_columns(blocks, room.best[: len(rows)], min(self.k, self.size))
                item = np.where(np.isneginf(value), 0, self.catalogue[np.minimum(column, self.size - 1)])
                top_item[rows, : item.shape[1]], top_score[rows, : item.shape[1]] = item, value

        self._each(range(0, n, self.tile), work)
        return Ranked(better, tied, count, top_item, top_score)

    def _each(self, firsts: range, work: Callable[[_Room, int], None]) -> None:
        """Work on every tile: one after another, or on a CPU as many at once as torch has threads, a room for each."""
        n = n_cores(len(firsts), self.device)
        self._rooms += [_Room(self) for _ in range(n - len(self._rooms))]

        @torch.inference_mode()
        def task(core: int, first: int) -> None:
            work(self._rooms[core], first)

        with Cores(n) as cores:
            cores.run(task, firsts)

    def _count(
        self, room: _Room, rows_T: torch.Tensor, fill: _Fill, tile: Tile, check: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Better and tied candidates of each target of a tile."""
        own_N = self._own_scores(room, rows_T, fill, tile)
        while True:
            above_N, reach_N, found_N = self._pass(room, rows_T, fill, tile, own_N, check)
            if torch.equal(found_N, own_N):
                break
            # A product of another shape gave another last bit. What stands in the blocks is what counts.
            own_N = found_N
        above, reach = above_N.cpu().numpy().astype(np.int64), reach_N.cpu().numpy().astype(np.int64)
        better, tied = np.full(len(tile.rankable), -1, np.int64), np.zeros(len(tile.rankable), np.int64)
        better[tile.rankable] = above
        tied[tile.rankable] = reach - above - 1  # a target reaches its own score
        return better, tied

    def _own_scores(self, room: _Room, rows_T: torch.Tensor, fill: _Fill, tile: Tile) -> torch.Tensor:
        """The score of each target in its own request, float32 (N,)."""
        own_N = torch.empty(len(tile.row), device=self.device)
        for a in range(0, len(own_N), self.block):
            row, column = (torch.from_numpy(x[a : a + self.block]).to(self.device) for x in (tile.row, tile.column))
            out = room.flag.view(-1)[: self.tile * len(row)].view(self.tile, len(row))
            score = fill(room, rows_T, column, out)
            own_N[a : a + self.block] = score[row, torch.arange(len(row), device=self.device)]
        return own_N

    def _pass(
        self, room: _Room, rows_T: torch.Tensor, fill: _Fill, tile: Tile, own_N: torch.Tensor, check: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Go through all blocks: how many scores are above each target's, how many reach it, and its own there."""
        above_N, reach_N, found_N = torch.zeros_like(own_N), torch.zeros_like(own_N), own_N.clone()
        # The j-th targets belong to the first rows of the tile: their own scores, what is above, what reaches them.
        targets = [torch.from_numpy(wave) for wave in tile.waves]
        waves = [(own_N[t][:, None], own_N.new_zeros(len(t)), own_N.new_zeros(len(t))) for t in targets]
        for b in range(self.n_blocks):
            start, end = b * self.block, (b + 1) * self.block
            place = b % len(room.score)
            room.score[place] = fill(room, rows_T, b, room.score[place])  # a new tensor takes the place of an old one
            score = room.score[place][: len(rows_T)]
            if check:
                self._check(score[:, : max(self.size - start, 0)], rows_T, start)
            flat = score.view(-1)
            at, cell = self._cells(tile.own, b)
            if len(at):
                found_N.index_copy_(0, at, flat.index_select(0, cell))
            if end > self.size:
                score[:, max(self.size - start, 0) :] = -torch.inf
            if tile.only is not None:
                kept = self._cells(tile.only, b)[1]
                values = flat.index_select(0, kept)
                flat.fill_(-torch.inf).index_copy_(0, kept, values)
            if tile.gone is not None:
                flat.index_fill_(0, self._cells(tile.gone, b)[1], -torch.inf)
            for own_m1, above_m, reach_m in waves:
                m = len(own_m1)
                # Comparing into floats and adding them up is several times faster than through booleans.
                above_m += torch.gt(score[:m], own_m1, out=room.flag[:m]).sum(1)
                reach_m += torch.ge(score[:m], own_m1, out=room.flag[:m]).sum(1)
            if self.k:
                best = room.best[: len(score), start // GROUP : end // GROUP]
                torch.amax(score.view(len(score), -1, GROUP), -1, out=best)
        for target, (_, above_m, reach_m) in zip(targets, waves, strict=True):
            above_N[target], reach_N[target] = above_m, reach_m
        return above_N, reach_N, found_N

    def _cells(self, cells: Cells, b: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Which cells lie in block b, and their flat positions in it."""
        which, position = cells.block(b)
        return torch.from_numpy(which).to(self.device), torch.from_numpy(position).to(self.device)

    def _columns(self, at: int | torch.Tensor) -> slice | torch.Tensor:
        """The columns of a block given by its number; columns as they are."""
        return slice(at * self.block, (at + 1) * self.block) if isinstance(at, int) else at

    def _broken(self, what: str, row: int, value: float) -> UserError:
        return UserError(
            f"the {what} of item {self.catalogue[row]} is {value}: it must be finite; did training diverge?"
        )

    def _check(self, score: torch.Tensor, rows_T: torch.Tensor, start: int) -> None:
        def error(row: int, column: int, value: float) -> NonFiniteScoreError:
            return NonFiniteScoreError(int(rows_T[row]), int(self.catalogue[start + column]), value)

        _refuse(score, error)


def rank_scores(
    score_BV: np.ndarray | torch.Tensor,
    targets: Flat,
    *,
    catalogue: np.ndarray | None = None,
    seen: Flat | None = None,
    candidates: Flat | None = None,
    k: int = 0,
) -> Ranked:
    """Rank targets by given scores (B, V), see `Ranker`.

    >>> score = np.array([[0.0, 0.9, 0.5, 0.5, 0.1]])
    >>> r = rank_scores(score, Flat.of([[3]]), k=3)
    >>> r.better, r.tied, r.top_item
    (array([1]), array([1]), array([[1, 2, 3]], dtype=int32))
    """
    device = score_BV.device if isinstance(score_BV, torch.Tensor) else "cpu"
    ranker = Ranker(score_BV.shape[1], catalogue, k=k, device=device)
    return ranker.rank_scores(score_BV, targets, seen, candidates)


def rank_vectors(
    request_BD: np.ndarray | torch.Tensor,
    item_VD: np.ndarray | torch.Tensor,
    targets: Flat,
    *,
    catalogue: np.ndarray | None = None,
    seen: Flat | None = None,
    k: int = 0,
) -> Ranked:
    """Rank targets by inner products of request vectors (B, D) and item vectors (V, D), see `Ranker`."""
    device = request_BD.device if isinstance(request_BD, torch.Tensor) else "cpu"
    ranker = Ranker(len(item_VD), catalogue, item_VD=item_VD, k=k, device=device)
    return ranker.rank_vectors(request_BD, targets, seen)


def _cut(lists: Flat | None, first: int, last: int) -> Flat | None:
    return None if lists is None else lists.rows(first, last)


def _refuse(values: torch.Tensor, error: Callable[[int, int, float], UserError]) -> None:
    """Refuse NaN and infinity; the sum of a row is not finite if one of its values is not (or if it overflows)."""
    for row in (~torch.isfinite(values.sum(1))).nonzero()[:, 0].tolist():
        bad = (~torch.isfinite(values[row])).nonzero()[:, 0].tolist()
        if bad:
            raise error(row, bad[0], float(values[row, bad[0]]))
