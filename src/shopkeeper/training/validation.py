"""Validation while training: the rank of each target among the whole catalogue, by counting, on the device.

Shapes: B requests, D width, V items + 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shopkeeper.metrics.ranks import Flat, Ranker
from shopkeeper.sequences.batches import Batch, Histories
from shopkeeper.sequences.prepared import Split

K = 10


@dataclass
class Validator:
    """The validation requests of a split, made ready once."""

    histories: Histories
    targets: Flat
    seen: Flat | None
    catalogue: np.ndarray
    fallback_V: np.ndarray
    edges: Sequence[int]
    device: torch.device
    with_types: bool
    batch_size: int = 512

    @classmethod
    def of(
        cls,
        split: Split,
        *,
        types: Sequence[int] | None,
        with_types: bool,
        max_length: int,
        filter_seen: bool,
        fallback_V: np.ndarray,
        edges: Sequence[int],
        device: torch.device,
        limit: int,
    ) -> Validator | None:
        """None where the split has no validation requests (or `limit` is 0). A larger part is sampled, always alike."""
        requests, targets = split.part("validation")
        if len(requests) == 0 or limit == 0:
            return None
        chosen = np.arange(len(requests))
        if len(requests) > limit:
            chosen = np.sort(np.random.default_rng(0).permutation(len(requests))[:limit])
        picked = type(requests)(requests.events, requests.start[chosen], requests.end[chosen])
        lists = [targets.item[targets.offsets[b] : targets.offsets[b + 1]] for b in chosen]
        offsets = np.append(0, np.cumsum([len(x) for x in lists])).astype(np.int64)
        known_V = known_items(split.prepared.n_items, split.catalogue)
        seen = None
        if filter_seen:
            at, rows = picked.flat()
            seen = Flat(at, split.prepared.events.item[rows])
        return cls(
            Histories.of(picked, known_V, types, max_length),
            Flat(offsets, np.concatenate(lists).astype(np.int64)),
            seen,
            split.catalogue,
            fallback_V,
            edges,
            device,
            with_types,
        )

    @torch.inference_mode()
    def __call__(
        self, encode: Callable[[Batch], Tensor], item_VD: Tensor, rank: int = 0, world: int = 1
    ) -> dict[str, float]:
        """Means over all requests: `ndcg@10`, `recall@10`, `hit@10`, `mrr`. With `world` > 1 each rank does a share."""
        n = len(self.targets.offsets) - 1
        mine = slice(n * rank // world, n * (rank + 1) // world)
        vector_BD, blank_B = encode_all(
            encode, self.histories, n, self.edges, self.device, self.with_types, item_VD.shape[1], self.batch_size, mine
        )
        ranker = Ranker(
            len(self.fallback_V), self.catalogue, item_VD=item_VD, fallback_V=self.fallback_V, device=self.device
        )
        first, last = mine.start, mine.stop
        targets = self.targets.rows(first, last)
        seen = None if self.seen is None else self.seen.rows(first, last)
        found = ranker.rank_vectors(vector_BD[mine], targets, seen, blank_B=blank_B[mine])
        place = np.where(found.better < 0, np.inf, found.better + 1 + found.tied / 2)
        return means(gather(per_request(place, targets.offsets), world))


def per_request(rank_N: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """NDCG@10, Recall@10, Hit@10 and reciprocal rank of each request: (B, 4). `rank_N` counts from 1, inf = none."""
    n_targets = np.diff(offsets)
    request = np.repeat(np.arange(len(n_targets)), n_targets)
    hit = rank_N <= K
    gain = np.where(hit, 1 / np.log2(np.where(hit, rank_N, 1) + 1), 0.0)
    ideal = np.append(0, np.cumsum(1 / np.log2(np.arange(2, K + 2))))[np.minimum(n_targets, K)]
    hits = np.bincount(request, hit, len(n_targets))
    best = np.full(len(n_targets), np.inf)
    np.minimum.at(best, request, rank_N)
    some = np.maximum(n_targets, 1)
    return np.stack(
        [np.bincount(request, gain, len(n_targets)) / np.maximum(ideal, 1e-9), hits / some, hits > 0, 1 / best], 1
    )


def means(rows_B4: np.ndarray) -> dict[str, float]:
    """Averages over requests, by name; summed exactly (`math.fsum`), so that no order of ranks changes them."""
    names = ("ndcg@10", "recall@10", "hit@10", "mrr")
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
    encode: Callable[[Batch], Tensor],
    histories: Histories,
    n: int,
    edges: Sequence[int],
    device: torch.device,
    with_types: bool,
    width: int,
    batch_size: int,
    only: slice | None = None,
) -> tuple[Tensor, Tensor]:
    """Vectors float32 (n, D) of all requests on the device, and which of the n have no usable history (bool)."""
    vector_BD = torch.zeros(n, width, device=device)
    blank_B = torch.ones(n, dtype=torch.bool, device=device)
    rows = np.arange(len(histories.length_R))
    if only is not None:
        rows = rows[(histories.request_R >= only.start) & (histories.request_R < only.stop)]
    rows = rows[np.argsort(histories.length_R[rows], kind="stable")]
    for first in range(0, len(rows), batch_size):
        some = rows[first : first + batch_size]
        at = torch.from_numpy(histories.request_R[some]).to(device)
        vector_BD[at] = encode(histories.batch(some, edges, device, with_types)).float()
        blank_B[at] = False
    return vector_BD, blank_B


def known_items(n_items: int, catalogue: np.ndarray) -> np.ndarray:
    """bool (V,): items that the model has an embedding for, i.e. those of the catalogue it was trained with."""
    known_V = np.zeros(n_items + 1, bool)
    known_V[catalogue] = True
    return known_V
