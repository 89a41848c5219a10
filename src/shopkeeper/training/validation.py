"""Validation while training: the rank of each target among all that its request may be answered with, by counting.

Shapes: B requests, D width, V items + 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.metrics.parallel import Cores
from shopkeeper.training.batching.batches import Batch
from shopkeeper.training.batching.histories import Histories

Encode = Callable[[int, Batch], Tensor]  # the core that asks, a batch -> vectors at the last positions (B, D)
# vectors of all requests -> what stands in place of single products: requests (ascending), classes, float32; (R,) each
Given = Callable[[Tensor], tuple[np.ndarray, np.ndarray, Tensor]]
SCORES = 4 << 20  # float32 held at once, over all cores: of some requests, and again of as many targets of theirs


@dataclass
class Validator:
    """The validation requests of a split, made ready once."""

    requests: Requests
    histories: Histories
    offsets: np.ndarray  # int64 (B+1,): targets of request b are offsets[b]:offsets[b+1]
    target_class: np.ndarray  # int64 (N,): position in the catalogue, -1 where it is not in it
    request_of_target: np.ndarray  # int64 (N,)
    seen_cell: np.ndarray  # int64, sorted, each once: request * n_catalogue + class of what is not ranked
    catalogue: np.ndarray
    fallback_V: np.ndarray
    edges: Sequence[int]
    device: torch.device
    reads: Sequence[str]  # columns of a batch beside items and positions
    batch_size: int = 512
    k: int = 10  # cut-off
    # what alone is ranked where requests ask for a category: offsets int64 (B+1,), positions in the catalogue
    open_to: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def headline(self) -> str:
        """The figure that chooses the best epoch."""
        return f"ndcg@{self.k}"

    @classmethod
    def of(
        cls,
        split: Split,
        *,
        types: Sequence[int] | None,
        reads: Sequence[str] = (),
        max_length: int,
        filter_seen: bool,
        fallback_V: np.ndarray,
        edges: Sequence[int],
        device: torch.device,
        limit: int,
        k: int = 10,
        mask: int = 0,
    ) -> Validator | None:
        """None where the split has no validation requests (or `limit` is 0). A larger part is sampled, always alike."""
        requests, targets = split.part("validation")
        if len(requests) == 0 or limit == 0:
            return None
        chosen = np.arange(len(requests))
        if len(requests) > limit:
            chosen = np.sort(np.random.default_rng(0).permutation(len(requests))[:limit])
        picked = requests.take(chosen)
        counts = np.diff(targets.offsets)[chosen]
        offsets = np.append(0, np.cumsum(counts))
        request_of_target = np.repeat(np.arange(len(chosen)), counts)
        at = np.arange(offsets[-1]) + np.repeat(targets.offsets[chosen] - offsets[:-1], counts)
        class_of = np.full(split.prepared.n_items + 1, -1, np.int64)
        class_of[split.catalogue] = np.arange(len(split.catalogue))
        seen_cell = np.zeros(0, np.int64)
        if (hidden := picked.hidden(filter_seen)) is not None:
            seen = class_of[hidden[1]]
            cell = np.repeat(np.arange(len(chosen)), np.diff(hidden[0])) * len(split.catalogue) + seen
            seen_cell = np.sort(np.unique(cell[seen >= 0]))
        return cls(
            picked,
            Histories.of(picked, known_items(split.prepared.n_items, split.known), types, max_length, reads, mask),
            offsets,
            class_of[targets.item[at]],
            request_of_target,
            seen_cell,
            split.catalogue,
            fallback_V,
            edges,
            device,
            reads,
            k=k,
            open_to=None if picked.candidates is None else (picked.candidates[0], class_of[picked.candidates[1]]),
        )

    @torch.inference_mode()
    def __call__(
        self,
        encode: Encode,
        item_VD: Tensor,
        cores: Cores | None = None,
        rank: int = 0,
        world: int = 1,
        bias: tuple[Tensor, np.ndarray] | None = None,
        given: Given | None = None,
    ) -> dict[str, float]:
        """Means over all requests: `ndcg@k`, `recall@k`, `hit@k`, `mrr`. With `world` > 1 each rank does a share.

        `given`: what stands in place of single products; `bias`: float32 (T, V), and which row of it is then added to
        each request's scores, int64 (B,).
        """
        cores = cores or Cores(1)
        n = len(self.offsets) - 1
        mine = slice(n * rank // world, n * (rank + 1) // world)
        vector_BD, blank_B = encode_all(
            encode,
            self.histories,
            n,
            self.edges,
            self.device,
            self.reads,
            item_VD.shape[1],
            max(self.batch_size // cores.n, 1),
            cores,
            mine,
        )
        more = None if given is None else given(vector_BD)
        rank_N = self._ranks(vector_BD, blank_B, item_VD, mine, cores, bias, more)
        rows_B4 = per_request(rank_N, self.offsets[mine.start : mine.stop + 1], self.k)
        return means(gather(rows_B4, world), self.k)

    def _ranks(
        self,
        vector_BD: Tensor,
        blank_B: Tensor,
        item_VD: Tensor,
        mine: slice,
        cores: Cores | None = None,
        bias: tuple[Tensor, np.ndarray] | None = None,
        given: tuple[np.ndarray, np.ndarray, Tensor] | None = None,
    ) -> np.ndarray:
        """Rank of each target of the requests `mine`: 1 + better scores + half of the ties; inf for none."""
        cores = cores or Cores(1)
        items = torch.from_numpy(self.catalogue.astype(np.int64)).to(self.device)
        item_DC = item_VD[items].float().T.contiguous()
        fallback_C = torch.from_numpy(self.fallback_V).to(self.device)[items]
        bias_TC = None if bias is None else bias[0][:, items].float()
        tile, width = max(SCORES // (len(items) * cores.n), 16), len(items)
        score_TC = [torch.empty(tile, width, device=self.device) for _ in range(cores.n)]
        base = self.offsets[mine.start]
        out = np.zeros(self.offsets[mine.stop] - base)

        @torch.inference_mode()
        def task(core: int, first: int) -> None:
            last = min(first + tile, mine.stop)
            score = torch.mm(vector_BD[first:last], item_DC, out=score_TC[core][: last - first])
            if given is not None:
                some = slice(*np.searchsorted(given[0], (first, last)).tolist())
                cell = torch.from_numpy((given[0][some] - first) * width + given[1][some]).to(self.device)
                score.view(-1).index_copy_(0, cell, given[2][some])
            if bias is not None and bias_TC is not None:
                score += bias_TC[torch.from_numpy(bias[1][first:last]).to(self.device)]
            score[blank_B[first:last]] = fallback_C
            lo, hi = np.searchsorted(self.seen_cell, (first * width, last * width))
            gone = torch.from_numpy(self.seen_cell[lo:hi] - first * width).to(self.device)
            score.view(-1).index_fill_(0, gone, -torch.inf)
            if self.open_to is not None:
                _shut(score, self.open_to, first, last)
            lo, hi = self.offsets[first], self.offsets[last]
            row_N = torch.from_numpy(self.request_of_target[lo:hi] - first).to(self.device)
            class_N = torch.from_numpy(self.target_class[lo:hi]).to(self.device)
            own_N = torch.where(class_N < 0, -torch.inf, score[row_N, class_N.clamp_min(0)])
            each = len(row_N) == len(score) and bool((row_N.diff() == 1).all())
            ranks = []
            for at in range(0, len(row_N), tile):  # a request of a basket has as many targets as it has lines
                some = slice(at, at + tile)
                shown, own = score if each else score[row_N[some]], own_N[some, None]
                better, same = ((f(shown, own)).sum(1) for f in (torch.gt, torch.eq))
                ranks.append(better + 1 + (same - 1) / 2)
            rank_N = torch.cat(ranks) if ranks else own_N
            out[lo - base : hi - base] = torch.where(own_N > -torch.inf, rank_N.double(), torch.inf).cpu().numpy()

        cores.run(task, range(mine.start, mine.stop, tile))
        return out


def _shut(score: Tensor, open_to: tuple[np.ndarray, np.ndarray], first: int, last: int) -> None:
    """Give all but what the requests `first` to `last` may be answered with no score."""
    offsets, at = open_to[0][first : last + 1], open_to[1]
    row = np.repeat(np.arange(last - first), np.diff(offsets))
    named = at[offsets[0] : offsets[-1]]
    cell = torch.from_numpy((row * score.shape[1] + named)[named >= 0]).to(score.device)
    shut = torch.ones(score.shape, dtype=torch.bool, device=score.device)
    shut.view(-1).index_fill_(0, cell, False)
    score.masked_fill_(shut, -torch.inf)


def per_request(rank_N: np.ndarray, offsets: np.ndarray, k: int = 10) -> np.ndarray:
    """NDCG@k, Recall@k, Hit@k and reciprocal rank of each request: (B, 4). `rank_N` counts from 1, inf = none."""
    n_targets = np.diff(offsets)
    request = np.repeat(np.arange(len(n_targets)), n_targets)
    hit = rank_N <= k
    gain = np.where(hit, 1 / np.log2(np.where(hit, rank_N, 1) + 1), 0.0)
    ideal = np.append(0, np.cumsum(1 / np.log2(np.arange(2, k + 2))))[np.minimum(n_targets, k)]
    hits = np.bincount(request, hit, len(n_targets))
    best = np.full(len(n_targets), np.inf)
    np.minimum.at(best, request, rank_N)
    some = np.maximum(n_targets, 1)
    return np.stack(
        [np.bincount(request, gain, len(n_targets)) / np.maximum(ideal, 1e-9), hits / some, hits > 0, 1 / best], 1
    )


def means(rows_B4: np.ndarray, k: int = 10) -> dict[str, float]:
    """Averages over requests, by name; summed exactly (`math.fsum`), so that no order of ranks changes them."""
    names = (f"ndcg@{k}", f"recall@{k}", f"hit@{k}", "mrr")
    return {name: math.fsum(rows_B4[:, i]) / max(len(rows_B4), 1) for i, name in enumerate(names)}


def gather(rows: np.ndarray, world: int) -> np.ndarray:
    """The rows of all ranks, in rank order, on every rank: rows are gathered, averages are not averaged."""
    if world == 1:
        return rows
    sizes = torch.zeros(world, dtype=torch.int64)
    sizes[torch.distributed.get_rank()] = len(rows)
    torch.distributed.all_reduce(sizes)
    parts = [torch.zeros(int(n), rows.shape[1], dtype=torch.float64) for n in sizes]
    for source, part in enumerate(parts):
        if source == torch.distributed.get_rank():
            part.copy_(torch.from_numpy(rows.astype(np.float64)))
        torch.distributed.broadcast(part, source)
    return torch.cat(parts).numpy()


def encode_all(
    encode: Encode,
    histories: Histories,
    n: int,
    edges: Sequence[int],
    device: torch.device,
    reads: Sequence[str],
    width: int,
    batch_size: int,
    cores: Cores,
    only: slice | None = None,
) -> tuple[Tensor, Tensor]:
    """Vectors float32 (n, D) of all requests on the device, and which of the n have no usable history (bool).

    `encode(core, batch)` is called in inference mode, by each core for batches of its own.
    """
    vector_BD = torch.zeros(n, width, device=device)
    blank_B = torch.ones(n, dtype=torch.bool, device=device)
    rows = np.arange(len(histories.length_R))
    if only is not None:
        rows = rows[(histories.request_R >= only.start) & (histories.request_R < only.stop)]
    rows = rows[np.argsort(histories.length_R[rows], kind="stable")]

    @torch.inference_mode()
    def task(core: int, first: int) -> None:
        some = rows[first : first + batch_size]
        at = torch.from_numpy(histories.request_R[some]).to(device)
        vector_BD[at] = encode(core, histories.batch(some, edges, device, reads)).float()
        blank_B[at] = False

    firsts = range(0, len(rows), batch_size)
    cores.run(task, firsts[::-1])  # the longest histories first: no core waits long for the last one
    return vector_BD, blank_B


def known_items(n_items: int, known: np.ndarray) -> np.ndarray:
    """bool (V,): items that the model has an embedding for, i.e. those that the split it was trained with knows."""
    known_V = np.zeros(n_items + 1, bool)
    known_V[known] = True
    return known_V
