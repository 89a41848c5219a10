"""Rows about items: what a model recommends at each request of a split, and where what was taken stood.

Beside who was asked: `targets, ranks`, one float64 column per list metric (`ndcg@10`, …), `top_items, top_scores`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from shopkeeper.data.requests import Requests, Targets
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.evaluation.table import batch_of, who
from shopkeeper.models.about import SCORES, VECTORS
from shopkeeper.schema import NO_TIME

if TYPE_CHECKING:  # these bring in torch, which reading and comparing tables does not need
    from shopkeeper.evaluation.beyond import Shop
    from shopkeeper.metrics.plain_ranker import PlainRanker
    from shopkeeper.metrics.ranker import Ranker
    from shopkeeper.metrics.ranks import Flat, Ranked

_SCORE_BYTES = 128 << 20  # a batch of full scores


def evaluate_requests(model: Any, split: Split, part: str = "test", **options: Any) -> pa.Table:
    """The whole per-request table of a model in memory; options as of `iter_requests`."""
    batches = iter_requests(model, split, part, **options)
    first = next(batches)
    return pa.Table.from_batches([first, *batches], schema=first.schema)


def iter_requests(
    model: Any,
    split: Split,
    part: str = "test",
    *,
    k: Sequence[int] = (10,),
    filter_seen: bool = False,
    batch_size: int | None = None,
    ties: str = "expected",
    top_k: int | None = None,
    requests: Requests | None = None,
    metadata: Mapping[str, Any] | None = None,
    beyond: bool = True,
    device: str = "cpu",
) -> Iterator[pa.RecordBatch]:
    """Chunks of the per-request table, in the order of the split's requests.

    A model that answers with vectors is multiplied and counted in tiles; one with scores is counted; one with lists,
    `recommend(requests, k)` (ids, best first), has null ranks beyond its list, and what it lists against the rules
    (seen, not in the catalogue) is taken out. `k` beyond the catalogue is allowed: the list then ends with the
    catalogue and recall is 1. `requests` replaces the split's own (shuffled histories, say) against the same targets.
    `metadata` (model, seed, task, …) is kept with the table. NaN or infinite scores end in a `UserError` that names
    the request. `beyond=False` leaves out the columns beyond accuracy.
    """
    from shopkeeper.evaluation.beyond import Shop
    from shopkeeper.metrics.ranks import NonFiniteScoreError

    own_requests, targets = split.part(part)
    requests = own_requests if requests is None else requests
    assert len(requests) == len(targets)
    if len(requests) == 0:
        raise UserError(f"the {part} part of split '{split.name}' has no requests: nothing to evaluate")
    if not k or min(k) < 1:
        raise UserError(f"cut-offs k={list(k)} must be whole numbers from 1")
    top_k = max(k) if top_k is None else top_k
    meta = {
        "dataset": split.prepared.name,
        "split": split.name,
        "protocol": split.protocol,
        "part": part,
        "model": type(model).__name__,
        "seed": None,
        "filter_seen": bool(filter_seen),
        "target_hash": split.target_hash(part),
        "k": list(k),
        "n_catalogue": len(split.catalogue),
        "ties": ties,
        "uses_instant": model.about.reads_instant,
        "oracle": model.about.oracle,
        **(metadata or {}),
    }
    n_columns = split.prepared.n_items + 1
    tiled = model.about.answers == VECTORS
    if batch_size is None:
        batch_size = 8192 if tiled else int(np.clip(_SCORE_BYTES // (4 * n_columns), 16, 8192))
    ranker = _ranker(model if tiled else None, split, len(requests), top_k, device)
    user_ids = split.prepared.users["user_id"].combine_chunks()
    shop = Shop.of(split, filter_seen) if beyond else None
    for first in range(0, len(requests), batch_size):
        asked, happened = requests[first : first + batch_size], targets[first : first + batch_size]
        try:
            ranked = _rank(model, ranker, asked, happened, filter_seen, tiled)
        except NonFiniteScoreError as e:
            who = f"request {first + e.request} of {part}"
            if asked.user is not None and asked.user[e.request] > 0:
                who += f" (user '{user_ids[int(asked.user[e.request]) - 1].as_py()}')"
            raise UserError(
                f"model '{meta['model']}' gives the score {e.value} for {who}: scores must be finite; "
                f"did training diverge? Try a lower learning rate"
            ) from None
        yield _batch(first, asked, happened, ranked, user_ids, shop, meta)


def _ranker(model: Any, split: Split, n_requests: int, k: int, device: str) -> Ranker | PlainRanker:
    """What counts: in tiles with torch where a model gives vectors or there is much to count, else NumPy alone."""
    from shopkeeper.metrics.plain_ranker import FEW, PlainRanker

    n_columns = split.prepared.n_items + 1
    if model is None and device == "cpu" and n_requests * n_columns <= FEW:
        return PlainRanker(n_columns, split.catalogue, k=k)
    from shopkeeper.metrics.ranker import Ranker

    vectors = {} if model is None else {"item_VD": model.item_vectors(), "fallback_V": model.fallback()}
    return Ranker(n_columns, split.catalogue, k=k, device=device, **vectors)


def _rank(
    model: Any, ranker: Ranker | PlainRanker, requests: Requests, targets: Targets, filter_seen: bool, tiled: bool
) -> Ranked:
    from shopkeeper.metrics.ranks import Flat, rank_in_lists

    wanted = Flat(targets.offsets, targets.item)
    hidden = requests.hidden(filter_seen)
    seen = None if hidden is None else Flat(*hidden)
    candidates = None if requests.candidates is None else Flat(*requests.candidates)
    if tiled:
        from shopkeeper.metrics.ranker import Ranker

        assert isinstance(ranker, Ranker)
        vector_BD, blank_B = model.encode(requests)
        return ranker.rank_vectors(vector_BD, wanted, seen, candidates, blank_B)
    if model.about.answers == SCORES:
        return ranker.rank_scores(model.score(requests), wanted, seen, candidates)
    list_BK = np.asarray(model.recommend(requests, ranker.k))
    if unknown := list_BK[(list_BK < 0) | (list_BK >= ranker.n_columns)].tolist():
        raise UserError(
            f"{type(model).__name__} lists item {unknown[0]}, which is not in the id map (1 to "
            f"{ranker.n_columns - 1}); give internal ids, 0 for an empty place"
        )
    allowed, n_candidates = _allowed(ranker, list_BK, seen, candidates)
    kept_BK = np.where(allowed, list_BK, 0)
    kept_BK = np.take_along_axis(kept_BK, np.argsort(kept_BK == 0, axis=1, kind="stable"), axis=1)
    return rank_in_lists(kept_BK, wanted, len(ranker.catalogue))._replace(candidates=n_candidates)


def _allowed(
    ranker: Ranker | PlainRanker, list_BK: np.ndarray, seen: Flat | None, named: Flat | None
) -> tuple[np.ndarray, np.ndarray]:
    """Which places of lists (B, K) hold an item that may be recommended there, and how many may be: int64 (B,)."""
    from shopkeeper.metrics.ranks import Flat

    n, k = list_BK.shape
    keys_BK = ranker.columns.keys(Flat(np.arange(n + 1, dtype=np.int64) * k, list_BK.ravel()))[0].reshape(n, k)
    hidden = np.zeros(0, np.int64) if seen is None else np.unique(ranker.columns.keys(seen)[0])
    hidden = hidden[hidden >= 0]
    if named is None:
        count = len(ranker.catalogue) - np.bincount(hidden // ranker.size, minlength=n)
        return (keys_BK >= 0) & ~np.isin(keys_BK, hidden), count
    open_to = np.setdiff1d(ranker.columns.keys(named)[0], hidden)
    open_to = open_to[open_to >= 0]
    return np.isin(keys_BK, open_to), np.bincount(open_to // ranker.size, minlength=n)


def _batch(
    first: int,
    requests: Requests,
    targets: Targets,
    ranked: Ranked,
    user_ids: pa.Array,
    shop: Shop | None,
    meta: Mapping[str, Any],
) -> pa.RecordBatch:
    from shopkeeper.metrics.ranking import compute, metric_names
    from shopkeeper.metrics.ranks import Hits, positions

    n = len(requests)
    user = np.zeros(n, np.int32) if requests.user is None else requests.user
    instant = np.full(n, NO_TIME, np.int64) if requests.instant is None else requests.instant
    rank = positions(ranked.better, ranked.tied, targets.offsets, meta["ties"])
    hits = Hits.of(ranked, targets.offsets, targets.item, meta["ties"])
    offsets = pa.array(targets.offsets.astype(np.int32))
    listed = ranked.top_item > 0
    top_offsets = pa.array(np.concatenate([[0], np.cumsum(listed.sum(1))]).astype(np.int32))
    columns: dict[str, pa.Array] = {
        **who(user_ids, first, user, instant, requests.lengths),
        "targets": pa.ListArray.from_arrays(offsets, pa.array(targets.item.astype(np.int32))),
        "ranks": pa.ListArray.from_arrays(offsets, pa.array(rank, mask=np.isnan(rank))),
    }
    for name in metric_names(meta["k"]):
        columns[name] = pa.array(compute(hits, name))
    if shop is not None:
        further = shop.columns(requests, targets, ranked.top_item, hits, meta["k"])
        columns |= {name: pa.array(values) for name, values in further.items()}
    columns["top_items"] = pa.ListArray.from_arrays(top_offsets, pa.array(ranked.top_item[listed].astype(np.int32)))
    columns["top_scores"] = pa.ListArray.from_arrays(top_offsets, pa.array(ranked.top_score[listed]))
    return batch_of(columns, meta)
