"""Where the targets stand in the full list: found by counting better scores, never by sorting or sampling.

The rank of a target is one plus the number of better candidates. Candidates are the items of the catalogue without
those already seen. Counting runs over tiles of requests in buffers that are made once, so that the peak memory does
not grow with the number of requests. Tiles always have the same shape: a request gets the same scores, bit for bit,
in whatever batch it comes.

Shapes: B requests, T rows of a tile, V = n_items + 1 columns (column 0 is padding), C items in the catalogue,
D width, N target items in all, K length of the list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from shopkeeper.errors import UserError, nearest
from shopkeeper.metrics.tiles import Cells, Tile
from shopkeeper.metrics.topk import GROUP, best_columns

TIES = ("expected", "optimistic", "pessimistic")

_BYTES = {"cpu": (64 << 20, 3 << 20), "cuda": (1 << 30, 1 << 30)}  # of a tile, of a block (the cores' own caches)
_Fill = Callable[[torch.Tensor, "int | torch.Tensor", torch.Tensor], torch.Tensor]  # rows, block or columns, room
# oneDNN multiplies float32 on AMD in half the time of torch's default (MKL), which does not use all of AVX-512 there.
_ONEDNN = torch.backends.mkldnn.is_available() and all(
    hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight")
)


class Flat(NamedTuple):
    """Lists of items one after another: those of row b are `item[offsets[b]:offsets[b + 1]]`."""

    offsets: np.ndarray  # int64 (B+1,)
    item: np.ndarray  # integer (N,), internal item ids

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]]) -> Flat:
        """From a list of lists, for tests and small uses."""
        offsets = np.cumsum([0, *map(len, lists)], dtype=np.int64)
        return cls(offsets, np.array([x for xs in lists for x in xs], np.int64))

    def rows(self, first: int, last: int) -> Flat:
        """The lists of rows first..last-1."""
        span = self.offsets[first : last + 1]
        return Flat(span - span[0], self.item[span[0] : span[-1]])


class Ranked(NamedTuple):
    """What counting gives, per target and per request."""

    better: np.ndarray  # int64 (N,): candidates with a better score; -1: the target is no candidate (no rank)
    tied: np.ndarray  # int64 (N,): other candidates with the same score
    candidates: np.ndarray  # int64 (B,): number of items ranked
    top_item: np.ndarray  # int32 (B, K): best first, equal scores by item id; 0 where candidates ran out
    top_score: np.ndarray  # float32 (B, K); -inf where candidates ran out


class NonFiniteScoreError(UserError):
    """A score is NaN or infinite; `request` is the position in the batch, `item` the internal id."""

    def __init__(self, request: int, item: int, value: float):
        self.request, self.item, self.value = request, item, value
        super().__init__(f"request {request} gets the score {value} for item {item}: scores must be finite numbers")


def positions(better: np.ndarray, tied: np.ndarray, offsets: np.ndarray, ties: str = "expected") -> np.ndarray:
    """Ranks from 1, float64 (N,); NaN where a target has none.

    Under `expected` a target gets the mean place of its tied block, `better + 1 + tied / 2`. Under `optimistic` the
    targets of a request stand before everything they tie with, under `pessimistic` behind it; several targets in one
    block take one place each, so that the ranks are those of a list that exists.

    >>> positions(np.array([3]), np.array([2]), np.array([0, 1]))
    array([5.])
    >>> positions(np.array([3, 3]), np.array([2, 2]), np.array([0, 2]), "pessimistic")
    array([5., 6.])
    """
    if ties not in TIES:
        raise UserError(f"ties '{ties}' is not a policy.{nearest(ties, TIES)}")
    rank = better + 1.0
    if ties == "expected":
        rank = rank + tied / 2
    else:
        place, fellows = _within_block(better, offsets)
        rank = rank + place if ties == "optimistic" else rank + tied - (fellows - 1 - place)
    return np.where(better < 0, np.nan, rank)


def _within_block(better: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each target: its place among the targets that it ties with in its request, and how many they are."""
    request = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((np.arange(len(better)), better, request))
    new = np.ones(len(better), bool)
    new[1:] = (np.diff(request[order]) != 0) | (np.diff(better[order]) != 0)
    block = np.cumsum(new) - 1
    first = np.flatnonzero(new)
    place = np.empty(len(better), np.int64)
    place[order] = np.arange(len(better)) - first[block] if len(better) else 0
    fellows = np.empty(len(better), np.int64)
    fellows[order] = np.bincount(block, minlength=len(first))[block] if len(better) else 0
    return place, fellows


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
        that end early. `tile`: rows per tile; the default keeps it under 64 MiB (1 GiB on CUDA).
        """
        self.device = torch.device(device)
        catalogue = np.arange(1, n_columns) if catalogue is None else np.asarray(catalogue, np.int64)
        if len(catalogue) == 0:
            raise UserError("the catalogue is empty: there is nothing to rank; check the split's catalogue.npy")
        if catalogue.min() < 1 or catalogue.max() >= n_columns:
            raise UserError(f"the catalogue holds item {catalogue.max()}, but scores have {n_columns} columns")
        self.n_columns, self.k, self.catalogue, self.size = n_columns, k, catalogue, len(catalogue)
        self.column = np.full(n_columns, -1, np.int64)  # item id -> column of the tile, -1: not in the catalogue
        self.column[catalogue] = np.arange(self.size)
        self._items = torch.from_numpy(catalogue).to(self.device)
        whole, part = _BYTES.get(self.device.type, _BYTES["cpu"])
        self.tile = tile or int(np.clip(whole // (4 * self.size) // 16 * 16, 16, 512))
        self.n_blocks = -(-self.size // max(part // (4 * self.tile), GROUP))
        self.block = -(-self.size // self.n_blocks // GROUP) * GROUP
        # Without lists a block is forgotten when it has been counted, and all blocks share one buffer.
        kept = self.n_blocks if k else 1
        self._score = [torch.empty(self.tile, self.block, device=self.device) for _ in range(kept)]
        self._flag = torch.empty(self.tile, self.block, device=self.device)
        self._best = torch.empty(self.tile, self.n_blocks * self.block // GROUP, device=self.device)  # of each group
        self._item_CD: torch.Tensor | None = None
        self._fallback_C: torch.Tensor | None = None
        self._bound = float("inf")
        if item_VD is not None:
            item_CD = torch.as_tensor(item_VD).to(self.device, torch.float32)[self._items]
            _refuse(item_CD, lambda row, _, value: self._broken("item vector", row, value))
            self._item_CD = torch.zeros(self.n_blocks * self.block, item_CD.shape[1], device=self.device)
            self._item_CD[: self.size] = item_CD
            self._bound = float(torch.finfo(torch.float32).max) / max(float(item_CD.norm(dim=1).max()), 1e-30)
            self._request_TD = torch.zeros(self.tile, item_CD.shape[1], device=self.device)
            self._item_bWD = [_packed(item_WD, self.tile) for item_WD in self._item_CD.split(self.block)]
        if fallback_V is not None:
            fallback_C = torch.as_tensor(fallback_V).to(self.device, torch.float32)[self._items]
            _refuse(fallback_C[:, None], lambda row, _, value: self._broken("fallback score", row, value))
            self._fallback_C = torch.nn.functional.pad(fallback_C, (0, self.n_blocks * self.block - self.size))

    def keys(self, lists: Flat) -> tuple[np.ndarray, np.ndarray]:
        """Row of the list times catalogue size plus column, and the column; -1 for an item not in the catalogue."""
        item = np.asarray(lists.item, np.int64)
        known = (item > 0) & (item < self.n_columns)
        column = np.where(known, self.column[np.where(known, item, 0)], -1)
        row = np.repeat(np.arange(len(lists.offsets) - 1, dtype=np.int64), np.diff(lists.offsets))
        return np.where(column >= 0, row * self.size + column, -1), column

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

        any_blank, loaded = bool(blank.any()), torch.empty(0)

        def fill(rows_T: torch.Tensor, at: int | torch.Tensor, out: torch.Tensor) -> torch.Tensor:
            nonlocal loaded
            n = len(rows_T)
            if rows_T is not loaded:  # the first block of a tile
                loaded = rows_T
                self._request_TD[:n] = request_BD[rows_T]
                self._request_TD[n:] = 0.0  # always the whole tile: products of one shape have the same bits
            score = _product(self._request_TD, self._item_bWD[at] if isinstance(at, int) else item_CD[at], out)
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

        def fill(rows_T: torch.Tensor, at: int | torch.Tensor, out: torch.Tensor) -> torch.Tensor:
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
        for first in range(0, n, self.tile):
            last = min(first + self.tile, n)
            tile = Tile(self, targets.rows(first, last), _cut(seen, first, last), _cut(candidates, first, last))
            rows = first + tile.order
            lo, hi = targets.offsets[first], targets.offsets[last]
            better[lo:hi], tied[lo:hi] = self._count(torch.from_numpy(rows).to(self.device), fill, tile, check)
            count[rows] = tile.n_candidates
            if self.k:
                blocks = [score[: len(rows)] for score in self._score]
                value, column = best_columns(blocks, self._best[: len(rows)], min(self.k, self.size))
                item = np.where(np.isneginf(value), 0, self.catalogue[np.minimum(column, self.size - 1)])
                top_item[rows, : item.shape[1]], top_score[rows, : item.shape[1]] = item, value
        return Ranked(better, tied, count, top_item, top_score)

    def _count(self, rows_T: torch.Tensor, fill: _Fill, tile: Tile, check: bool) -> tuple[np.ndarray, np.ndarray]:
        """Better and tied candidates of each target of a tile."""
        own_N = self._own_scores(rows_T, fill, tile)
        while True:
            above_N, reach_N, found_N = self._pass(rows_T, fill, tile, own_N, check)
            if torch.equal(found_N, own_N):
                break
            # A product of another shape gave another last bit. What stands in the blocks is what counts.
            own_N = found_N
        above, reach = above_N.cpu().numpy().astype(np.int64), reach_N.cpu().numpy().astype(np.int64)
        better, tied = np.full(len(tile.rankable), -1, np.int64), np.zeros(len(tile.rankable), np.int64)
        better[tile.rankable] = above
        tied[tile.rankable] = reach - above - 1  # a target reaches its own score
        return better, tied

    def _own_scores(self, rows_T: torch.Tensor, fill: _Fill, tile: Tile) -> torch.Tensor:
        """The score of each target in its own request, float32 (N,)."""
        own_N = torch.empty(len(tile.row), device=self.device)
        for a in range(0, len(own_N), self.block):
            row, column = (torch.from_numpy(x[a : a + self.block]).to(self.device) for x in (tile.row, tile.column))
            out = self._flag.view(-1)[: self.tile * len(row)].view(self.tile, len(row))
            score = fill(rows_T, column, out)
            own_N[a : a + self.block] = score[row, torch.arange(len(row), device=self.device)]
        return own_N

    def _pass(
        self, rows_T: torch.Tensor, fill: _Fill, tile: Tile, own_N: torch.Tensor, check: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Go through all blocks: how many scores are above each target's, how many reach it, and its own there."""
        above_N, reach_N, found_N = torch.zeros_like(own_N), torch.zeros_like(own_N), own_N.clone()
        # The j-th targets belong to the first rows of the tile: their own scores, what is above, what reaches them.
        waves = [(own_N[t][:, None], own_N.new_zeros(len(t)), own_N.new_zeros(len(t))) for t in tile.waves]
        for b in range(self.n_blocks):
            start, end = b * self.block, (b + 1) * self.block
            place = b % len(self._score)
            self._score[place] = fill(rows_T, b, self._score[place])  # a new tensor takes the room of an old one
            score = self._score[place][: len(rows_T)]
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
                above_m += torch.gt(score[:m], own_m1, out=self._flag[:m]).sum(1)
                reach_m += torch.ge(score[:m], own_m1, out=self._flag[:m]).sum(1)
            if self.k:
                best = self._best[: len(score), start // GROUP : end // GROUP]
                torch.amax(score.view(len(score), -1, GROUP), -1, out=best)
        for target, (_, above_m, reach_m) in zip(tile.waves, waves, strict=True):
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


def rank_in_lists(list_BK: np.ndarray, targets: Flat, n_candidates: int) -> Ranked:
    """Ranks for a model that only makes lists (item ids, best first, 0 = nothing): none for a target not listed."""
    request = np.repeat(np.arange(len(list_BK)), np.diff(targets.offsets))
    hit_NK = (list_BK[request] == targets.item[:, None]) & (targets.item[:, None] > 0)
    better = np.where(hit_NK.any(1), hit_NK.argmax(1), -1).astype(np.int64)
    score = np.where(list_BK > 0, -np.arange(list_BK.shape[1], dtype=np.float32), -np.inf).astype(np.float32)
    count = np.full(len(list_BK), n_candidates, np.int64)
    return Ranked(better, np.zeros(len(better), np.int64), count, list_BK.astype(np.int32), score)


def _cut(lists: Flat | None, first: int, last: int) -> Flat | None:
    return None if lists is None else lists.rows(first, last)


def _packed(item_WD: torch.Tensor, rows: int) -> torch.Tensor:
    """The block in the order in which oneDNN reads it, once and not in every product: a fifth of its time."""
    if _ONEDNN and item_WD.device.type == "cpu":
        packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(item_WD, rows)
        return packed
    return item_WD


def _product(request_TD: torch.Tensor, item_WD: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Inner products float32 (T, W), in `out` or in a tensor of their own."""
    if _ONEDNN and request_TD.device.type == "cpu":
        found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(request_TD, item_WD, None, "none", [], "")
        return found
    return torch.mm(request_TD, item_WD.T, out=out)


def _refuse(values: torch.Tensor, error: Callable[[int, int, float], UserError]) -> None:
    """Refuse NaN and infinity; the sum of a row is not finite if one of its values is not (or if it overflows)."""
    for row in (~torch.isfinite(values.sum(1))).nonzero()[:, 0].tolist():
        bad = (~torch.isfinite(values[row])).nonzero()[:, 0].tolist()
        if bad:
            raise error(row, bad[0], float(values[row, bad[0]]))
