"""Checks that ask whether a figure means what it seems to: order, unseen targets, empty answers, duplicates, protocol.

Whether the order of a history matters at all: A. Klenitskiy, A. Volodkevich, A. Pembek and A. Vasilev, Does it look
sequential? An analysis of datasets for evaluation of sequential recommendations, RecSys 2024.

Shapes: B requests, N targets, M rows of the event arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.data.requests import Events, Requests, emptied_by_ties
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.evaluation.beyond import list_matrix
from shopkeeper.evaluation.compare import Comparison, compare_family, metric_label
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.evaluation.table import metadata_of, summarise
from shopkeeper.metrics.beyond_accuracy import duplicates

# What sold best of late; the customer's own newest items, then the newest hits.
ALWAYS_BESIDE = ("popularity", "recency")
_CONTENT = ("item", "event_type", "price", "quantity")  # what moves when a history is shuffled; the times stay


def shuffled_histories(requests: Requests, seed: int = 0) -> Requests:
    """The same requests with the items of each history in random order; the times, orders and sessions stay in place.

    The flat arrays are copied: they hold the histories alone, one after another.
    """
    offsets, rows = requests.flat()
    moved = rows[_shuffle(np.repeat(np.arange(len(requests)), np.diff(offsets)), seed)]
    events = requests.events
    columns: dict[str, Any] = {
        name: None if column is None else column[moved if name in _CONTENT else rows]
        for name, column in vars(events).items()
    }
    return replace(requests, events=Events(**columns), start=offsets[:-1], end=offsets[1:])


def shuffled_training(split: Split, seed: int = 0) -> Split:
    """The split with the items of each user's training rows in random order, in memory: to train on without order.

    Rows after a user's training end stay as they are. A model trained on it and asked `shuffled_histories` has never
    seen an order.
    """
    prepared = split.prepared
    rows = np.arange(len(prepared.events.item))
    user = prepared.event_user
    train = rows < split.train_end[user - 1]
    moved = rows.copy()
    moved[train] = rows[train][_shuffle(user[train], seed)]
    columns: dict[str, Any] = {
        name: column[moved] if name in _CONTENT and column is not None else column
        for name, column in vars(prepared.events).items()
    }
    return replace(split, prepared=replace(prepared, events=Events(**columns)))


def _shuffle(group: np.ndarray, seed: int) -> np.ndarray:
    """A permutation of positions that stays within runs of equal, ascending `group`."""
    return np.lexsort((np.random.default_rng(seed).random(len(group)), group))


def asked_without_order(model: Any, table: pa.Table, split: Split, metric: str, seed: int = 0) -> pa.Table:
    """What the model answers to the table's requests when their histories are shuffled: requests, users, metric."""
    meta = metadata_of(table)
    requests, _ = split.part(meta["part"])
    mixed = evaluate_requests(
        model,
        split,
        meta["part"],
        k=tuple(meta["k"]),
        filter_seen=bool(meta["filter_seen"]),
        ties=meta.get("ties", "expected"),
        requests=shuffled_histories(requests, seed),
        beyond=False,
        metadata={"task": meta.get("task")} | ({"refit": True} if meta.get("refit") else {}),
    )
    return mixed.select([c for c in ("request", "user", metric) if c in mixed.column_names])


def orders_worth(
    mixed: Mapping[str, pa.Table], tables: Mapping[str, pa.Table], metric: str, **options: Any
) -> dict[str, Comparison]:
    """By model: its answers as they were against those of `asked_without_order`, all models judged as one family.

    `a` is "shuffled", `b` "as it was": a positive difference is what the order was worth; of a model that was trained
    again on `shuffled_training`, in training, too. `options` as of `compare_family`.
    """
    if not mixed:
        return {}
    pairs = [(f"{name}, shuffled", name) for name in mixed]
    both = {a: mixed[b] for a, b in pairs} | {b: tables[b] for _, b in pairs}
    found = compare_family(both, [metric], pairs=pairs, **options)
    return {c.b: replace(c, a="shuffled", b="as it was") for c in found}


def checks(table: pa.Table, split: Split) -> dict[str, Any]:
    """Counts and shares that belong beside every figure, as JSON.

    requests, targets; `cold_targets`: share of targets in no training row; `outside_catalogue`: share of targets that
    no model may recommend; `without_rank`: share of targets without a rank (outside the catalogue, seen and filtered,
    or beyond a list); `empty_histories`; `emptied_by_ties`: those that times without a time of day (or without seconds)
    leave nothing to go on; `unanswered`: share of requests with an empty list; `constant`: share whose
    listed scores are all equal, so that the order says nothing; `short_lists`; `lists_with_duplicates`;
    `warnings`: what of this a reader must know, in words.
    """
    part = str(metadata_of(table)["part"])
    requests, targets = split.part(part)
    _, rows = split.training_rows()
    trained = np.zeros(split.prepared.n_items + 1, bool)
    trained[split.prepared.events.item[rows]] = True
    allowed = np.zeros(split.prepared.n_items + 1, bool)
    allowed[split.catalogue] = True
    ranks = table["ranks"].combine_chunks().flatten()
    items = list_matrix(table)
    length = (items > 0).sum(1)
    scores = table["top_scores"].combine_chunks()
    low, high = _extremes(scores)
    longest = min(int(length.max(initial=0)), len(split.catalogue))

    def share(flag: np.ndarray) -> float:
        return float(flag.mean()) if len(flag) else 0.0

    found: dict[str, Any] = {
        "requests": table.num_rows,
        "targets": len(targets.item),
        "cold_targets": share(~trained[targets.item]),
        "outside_catalogue": share(~allowed[targets.item]),
        "without_rank": ranks.null_count / max(len(ranks), 1),
        "empty_histories": share(table["n_history"].to_numpy() == 0),
        "emptied_by_ties": share(
            emptied_by_ties(requests.start, requests.end, targets.row[targets.offsets[:-1]], requests.events.timestamp)
        ),
        "unanswered": share(length == 0),
        "constant": share((length > 1) & (low == high)),
        "short_lists": share((length > 0) & (length < longest)),
        "lists_with_duplicates": share(duplicates(items) > 0),
    }
    said = {
        "cold_targets": "of the targets are in no training row: no model without item attributes can find them",
        "outside_catalogue": "of the targets are outside the catalogue and count as misses",
        "emptied_by_ties": "of the requests have an empty history, because all that came before shares its instant "
        "with the target: no model can know more than popularity there",
        "unanswered": "of the requests got an empty list",
        "constant": "of the requests got equal scores for the whole list: its order says nothing",
        "lists_with_duplicates": "of the lists hold an item twice",
    }
    found["warnings"] = [f"{found[name]:.1%} {text}" for name, text in said.items() if found[name] > 0]
    return found


def _extremes(scores: pa.ListArray) -> tuple[np.ndarray, np.ndarray]:
    """First and last score of each list (they are sorted); NaN for an empty one."""
    offsets = scores.offsets.to_numpy()
    values = np.append(scores.values.to_numpy(), np.nan)
    empty = offsets[1:] == offsets[:-1]
    last, first = np.where(empty, len(values) - 1, offsets[1:] - 1), np.where(empty, len(values) - 1, offsets[:-1])
    return values[last], values[first]


def missing_baselines(
    names: Sequence[str], train: Callable[[str], str] = "shopkeeper train model={}".format
) -> str | None:
    """A sentence when a simple baseline is not beside the models, else None; `train`: model -> the command for it."""
    have = {name.partition("#")[0].partition(" (")[0] for name in names}
    if not (lacking := [name for name in ALWAYS_BESIDE if name not in have]):
        return None
    return (
        f"no {' and no '.join(lacking)} baseline is in the table: `{train(lacking[0])}` makes one in "
        f"seconds, and report.baselines as shipped adds it"
    )


def split_gap(
    leave_one_out: Mapping[str, pa.Table], temporal: Mapping[str, pa.Table], metric: str = "ndcg@10", **options: Any
) -> dict[str, Any]:
    """How figures and order of the models that have both runs change from leave-one-out to a split in time.

    {"metric", "models": {name: {"leave_one_out": {value, low, high, n}, "temporal": {…}, "ratio"}}, "reversed":
    pairs that change places, "kendall_tau", "statement"}. The requests differ, so no difference is tested. `options`
    (confidence, resamples, method) as of `summarise`.
    """
    names = [name for name in leave_one_out if name in temporal]
    if not names:
        raise UserError("no model has a run on both splits: train the same models on leave_one_out and temporal")
    models: dict[str, Any] = {}
    for name in names:
        before = summarise(leave_one_out[name], [metric], **options)[metric]
        after = summarise(temporal[name], [metric], **options)[metric]
        ratio = after["value"] / before["value"] if before["value"] and after["value"] is not None else None
        models[name] = {"leave_one_out": before, "temporal": after, "ratio": ratio}

    names = [n for n in names if all(models[n][kind]["value"] is not None for kind in ("leave_one_out", "temporal"))]
    if not names:
        raise UserError(f"{metric} is not defined for anybody on one of the splits; choose another task.headline")

    def lead(a: str, b: str, kind: str) -> float:
        return float(np.sign(models[a][kind]["value"] - models[b][kind]["value"]))

    pairs = list(combinations(names, 2))
    agree = [lead(a, b, "leave_one_out") * lead(a, b, "temporal") for a, b in pairs]
    reversed_pairs = [list(p) for p, sign in zip(pairs, agree, strict=True) if sign < 0]
    tau = float(np.mean(agree)) if pairs else None
    best = [max(names, key=lambda n: models[n][kind]["value"]) for kind in ("leave_one_out", "temporal")]
    statement = (
        f"{best[0]} has the highest {metric_label(metric)} under both splits"
        if best[0] == best[1]
        else f"the highest {metric_label(metric)} is that of {best[0]} under leave-one-out, of {best[1]} in time"
    )
    if reversed_pairs:
        statement += f"; {len(reversed_pairs)} of {len(pairs)} pairs of models change places"
    if pairs:
        statement += "; no difference between two of them was tested here"
    return {"metric": metric, "models": models, "reversed": reversed_pairs, "kendall_tau": tau, "statement": statement}
