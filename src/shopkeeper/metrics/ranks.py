"""Where the targets stand in the full list: found by counting better scores, never by sorting or sampling.

The rank of a target is one plus the number of better candidates. Candidates are the items of the catalogue without
those already seen. Counting runs over tiles of requests in buffers that are made once, so that the peak memory does
not grow with the number of requests. Tiles always have the same shape: a request gets the same scores, bit for bit,
in whatever batch it comes.

Shapes: B requests, T rows of a tile, V = n_items + 1 columns (column 0 is padding), C items in the catalogue,
D width, N target items in all, K length of the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from shopkeeper.errors import UserError, nearest

TIES = ("expected", "optimistic", "pessimistic")

_LANE = 256  # columns are padded to a multiple of this; bytes are added up eight at a time (see _count)
_BLOCK = 64  # columns of which the best is looked at first by _top_k
_TILE_BYTES = {"cpu": 16 << 20, "cuda": 1 << 30}  # a tile should stay in the last level cache


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

    Made once per model and used for any number of batches; owns the buffers.
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
        that end early. `tile`: rows per tile; the default fills the last level cache.
        """
        self.device = torch.device(device)
        catalogue = np.arange(1, n_columns) if catalogue is None else np.asarray(catalogue, np.int64)
        if len(catalogue) == 0:
            raise UserError("the catalogue is empty: there is nothing to rank; check the split's catalogue.npy")
        if catalogue.min() < 1 or catalogue.max() >= n_columns:
            raise UserError(f"the catalogue holds item {catalogue.max()}, but scores have {n_columns} columns")
        self.n_columns, self.k, self.catalogue = n_columns, k, catalogue
        self.column = np.full(n_columns, -1, np.int64)  # item id -> column of the tile, -1: not in the catalogue
        self.column[catalogue] = np.arange(len(catalogue))
        self._items = torch.from_numpy(catalogue).to(self.device)
        self.width = -(-len(catalogue) // _LANE) * _LANE
        room = _TILE_BYTES.get(self.device.type, 1 << 28) // (4 * self.width)
        self.tile = tile or int(np.clip(room // 16 * 16, 16, 512))
        self._score = torch.empty(self.tile, self.width, device=self.device)
        self._flag = torch.empty(self.tile, self.width, device=self.device, dtype=torch.bool)
        self._other: torch.Tensor | None = None  # second buffer, made when a request has a candidate list
        self._item_DC: torch.Tensor | None = None
        self._fallback_C: torch.Tensor | None = None
        self._bound = float("inf")
        if item_VD is not None:
            item_CD = torch.as_tensor(item_VD).to(self.device, torch.float32)[self._items]
            self._check(item_CD, "item vector", self.catalogue)
            self._item_DC = torch.zeros(item_CD.shape[1], self.width, device=self.device)
            self._item_DC[:, : len(catalogue)] = item_CD.T
            self._bound = float(torch.finfo(torch.float32).max) / max(float(item_CD.norm(dim=1).max()), 1e-30)
            self._request_TD = torch.zeros(self.tile, item_CD.shape[1], device=self.device)
        if fallback_V is not None:
            self._fallback_C = torch.as_tensor(fallback_V).to(self.device, torch.float32)[self._items]
            self._check(self._fallback_C[:, None], "fallback score", self.catalogue)

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
        item_DC, fallback_C = self._item_DC, self._fallback_C
        assert item_DC is not None, "Ranker was made without item vectors"
        request_BD = torch.as_tensor(request_BD).to(self.device, torch.float32)
        blank = torch.zeros(len(request_BD), dtype=torch.bool) if blank_B is None else torch.as_tensor(blank_B)
        blank = blank.to(self.device)
        if bool(blank.any()):
            assert fallback_C is not None, "Ranker was made without fallback scores"
            request_BD = request_BD.masked_fill(blank[:, None], 0.0)  # a blank vector may hold anything
        self._check(request_BD, "request vector")
        safe = bool((request_BD.norm(dim=1) < self._bound).all())  # Cauchy-Schwarz: no product can overflow

        def fill(rows_T: torch.Tensor) -> torch.Tensor:
            n = len(rows_T)
            self._request_TD[:n] = request_BD[rows_T]
            self._request_TD[n:] = 0.0
            torch.mm(self._request_TD, item_DC, out=self._score)
            blank_T = blank[rows_T]
            if fallback_C is not None and bool(blank_T.any()):
                self._score[:n, : len(self.catalogue)][blank_T] = fallback_C
            return self._score[:n]

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
        whole = len(self.catalogue) == self.n_columns - 1

        def fill(rows_T: torch.Tensor) -> torch.Tensor:
            score_TV = score_BV[rows_T.to(score_BV.device)]
            score_TC = score_TV[:, 1:] if whole else score_TV[:, self._items.to(score_BV.device)]
            self._score[: len(rows_T), : len(self.catalogue)] = score_TC
            return self._score[: len(rows_T)]

        return self._rank(len(score_BV), fill, targets, seen, candidates, check=True)

    def _rank(self, n, fill, targets, seen, candidates, check) -> Ranked:  # type: ignore[no-untyped-def]
        assert len(targets.offsets) == n + 1, "one list of targets per request"
        targets = Flat(np.asarray(targets.offsets, np.int64), np.asarray(targets.item))
        seen = None if seen is None else Flat(np.asarray(seen.offsets, np.int64), np.asarray(seen.item))
        better, tied = np.empty(len(targets.item), np.int64), np.empty(len(targets.item), np.int64)
        count = np.full(n, len(self.catalogue), np.int64)
        top_item, top_score = np.zeros((n, self.k), np.int32), np.full((n, self.k), -np.inf, np.float32)
        for first in range(0, n, self.tile):
            last = min(first + self.tile, n)
            at = targets.rows(first, last)
            # Requests with many targets first: those with more than j targets are then the first rows of the tile.
            order = np.argsort(-np.diff(at.offsets), kind="stable")
            score = fill(torch.from_numpy(first + order).to(self.device))
            if check:
                self._check(score[:, : len(self.catalogue)], "score", self.catalogue, first + order)
            score[:, len(self.catalogue) :] = -torch.inf
            if candidates is not None:
                score, count[first + order] = self._only(score, candidates.rows(first, last), order)
            if seen is not None:
                gone = self._cells(seen.rows(first, last), order)
                flat = score.view(-1)
                gone = gone[(flat[torch.from_numpy(gone).to(self.device)] > -torch.inf).cpu().numpy()]
                flat[torch.from_numpy(gone).to(self.device)] = -torch.inf
                count[first + order] -= np.bincount(gone // self.width, minlength=len(order))
            lo = targets.offsets[first]
            better[lo : lo + len(at.item)], tied[lo : lo + len(at.item)] = self._count_targets(score, at, order)
            if self.k:
                value, column = self._top_k(score, min(self.k, len(self.catalogue)))
                rows = first + order
                item = np.where(np.isneginf(value), 0, self.catalogue[np.minimum(column, len(self.catalogue) - 1)])
                top_item[rows, : item.shape[1]], top_score[rows, : item.shape[1]] = item, value
        return Ranked(better, tied, count, top_item, top_score)

    def _cells(self, lists: Flat, order: np.ndarray) -> np.ndarray:
        """Flat positions in the tile, each once, of the listed items that are in the catalogue."""
        row_of = np.empty(len(order), np.int64)
        row_of[order] = np.arange(len(order))
        item = lists.item.astype(np.int64, copy=False)
        known = (item > 0) & (item < self.n_columns)
        column = np.where(known, self.column[np.where(known, item, 0)], -1)
        cell = np.repeat(row_of, np.diff(lists.offsets)) * self.width + column
        return np.unique(cell[column >= 0])

    def _only(self, score: torch.Tensor, lists: Flat, order: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        """The tile with everything but the listed candidates at -inf, and how many each row keeps."""
        if self._other is None:
            self._other = torch.empty_like(self._score)
        cells = self._cells(lists, order)
        index = torch.from_numpy(cells).to(self.device)
        other = self._other[: len(order)].fill_(-torch.inf)
        other.view(-1)[index] = score.view(-1)[index]
        return other, np.bincount(cells // self.width, minlength=len(order))

    def _count_targets(self, score: torch.Tensor, at: Flat, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Better and tied candidates of each target of a tile (its rows are in the order given)."""
        n_targets = np.diff(at.offsets)[order]
        item = at.item.astype(np.int64, copy=False)
        known = (item > 0) & (item < self.n_columns)
        column = np.where(known, self.column[np.where(known, item, 0)], -1)
        better, tied = np.full(len(item), -1, np.int64), np.zeros(len(item), np.int64)
        for j in range(int(n_targets[0]) if len(n_targets) else 0):
            m = int((n_targets > j).sum())
            at_j = at.offsets[order[:m]] + j
            column_m = torch.from_numpy(np.maximum(column[at_j], 0)).to(self.device)
            own_m1 = score[:m].gather(1, column_m[:, None])
            above = self._count(torch.gt, score[:m], own_m1)
            same = self._count(torch.ge, score[:m], own_m1) - above - 1
            rankable = (column[at_j] >= 0) & (own_m1[:, 0] > -torch.inf).cpu().numpy()
            better[at_j] = np.where(rankable, above.cpu().numpy(), -1)
            tied[at_j] = np.where(rankable, same.cpu().numpy(), 0)
        return better, tied

    def _count(self, compare, score: torch.Tensor, value: torch.Tensor) -> torch.Tensor:  # type: ignore[no-untyped-def]
        """How many scores of each row compare true: the bytes of the flags are added eight at a time as int64.

        No byte overflows: each adds up 32 flags.
        """
        flag = self._flag[: len(score)]
        compare(score, value, out=flag)
        words = flag.view(torch.int64).view(len(score), _LANE // 8, -1).sum(1)
        return words.view(torch.uint8).view(len(score), -1).sum(1)

    def _top_k(self, score: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best of each row, best first, equal scores in column order: values and columns (T, k).

        The k best lie in the k blocks whose own best is highest, so only those are searched. Where more than k
        scores reach the k-th value, the choice is made anew by column number, so that it never depends on the device.
        """
        rows, width = score.shape
        if width // _BLOCK > 2 * k:
            block = score.view(rows, -1, _BLOCK).amax(-1).topk(k, sorted=False).indices
            column = (block[:, :, None] * _BLOCK + torch.arange(_BLOCK, device=self.device)).view(rows, -1)
            value, place = score.gather(1, column).topk(k)
            column = column.gather(1, place)
        else:
            value, column = score.topk(k)
        last = value[:, -1:]
        open_rows = ((self._count(torch.ge, score, last) > k) & (last[:, 0] > -torch.inf)).nonzero()[:, 0]
        for some in open_rows.split(64):
            part, edge = score[some], last[some]
            above, same = part > edge, part == edge
            pick = above | (same & (same.cumsum(1) <= k - above.sum(1, keepdim=True)))
            column[some] = pick.nonzero()[:, 1].view(len(some), k)
        column = column.sort(1).values
        value = score.gather(1, column)
        value, place = value.sort(dim=1, descending=True, stable=True)
        return value.cpu().numpy(), column.gather(1, place).cpu().numpy()

    @staticmethod
    def _check(
        values: torch.Tensor, what: str, items: np.ndarray | None = None, requests: np.ndarray | None = None
    ) -> None:
        """Refuse NaN and infinity; the sum of a row is not finite if one of its values is not (or it overflows)."""
        suspect = (~torch.isfinite(values.sum(1))).nonzero()[:, 0].tolist()
        for row in suspect:
            bad = (~torch.isfinite(values[row])).nonzero()[:, 0].tolist()
            if not bad:
                continue
            value = float(values[row, bad[0]])
            if what == "score":
                assert items is not None
                assert requests is not None
                raise NonFiniteScoreError(int(requests[row]), int(items[bad[0]]), value)
            if what == "request vector":
                raise NonFiniteScoreError(row, 0, value)
            raise UserError(f"the {what} of item {items[row] if items is not None else row} is {value}; retrain")


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
