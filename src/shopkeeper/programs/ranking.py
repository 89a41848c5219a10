"""Recommenders as plain arrays and the NumPy that reads them: one function per family, and the best k of its scores.

Formulas and sources stand with the models (`recommenders/`). What is here gives the same numbers, bit for bit (`added`
adds 32 bits in the order of SciPy's sparse products): a second stage sees which of two nearly equal items stands first.

Shapes: B requests, V = n_items + 1 columns, A items with training rows, U training customers, K list length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from shopkeeper.data.requests import Requests
from shopkeeper.features.baskets import Baskets, basket_weights, newest_weights
from shopkeeper.features.pairs import ItemFacts, pairs
from shopkeeper.features.steps import Steps
from shopkeeper.metrics.best import best_columns
from shopkeeper.programs.again import buy_it_again
from shopkeeper.programs.content import content_affinity
from shopkeeper.programs.factors import Fold, bpr, folded, ials
from shopkeeper.programs.neighbours import slim, user_knn
from shopkeeper.programs.sessions import session_knn
from shopkeeper.programs.sums import Arrays, added, best_of_each, in_blocks, own_items, weights
from shopkeeper.programs.trees import tree_sums
from shopkeeper.programs.visitors import either, segment_popularity


def popularity(requests: Requests, a: Arrays) -> np.ndarray:
    """The same scores for each request: float32 (B, V)."""
    return np.repeat(a["scores"][None, :], len(requests), axis=0)


def ease(requests: Requests, a: Arrays) -> np.ndarray:
    """Summed weights of the items of each history, decayed from its end on: float32 (B, V)."""
    items_A, weight_AA = a["items"], a["weight"]
    half_life = float(a["half_life_events"][0]) if "half_life_events" in a else 0.0  # older bundles have none
    every_time = bool(a["every_time"][0]) if "every_time" in a else False
    scores_BV = np.zeros((len(requests), len(a["fallback"])), np.float32)
    offsets, rows = requests.flat(np.flatnonzero(a["counts_type"]).tolist())
    for b, (first, end) in enumerate(pairwise(offsets.tolist())):
        newest_first = requests.events.item[rows[first:end]][::-1]
        item, place = np.unique(newest_first, return_index=True)  # place: events since
        if every_time:
            item, place = newest_first, np.arange(len(newest_first))
        known = np.isin(item, items_A)
        if known.any():
            column = np.searchsorted(items_A, item[known])
            if half_life:
                weight = np.exp2(-place[known] / half_life).astype(np.float32)
                scores_BV[b, items_A] = weight @ weight_AA[column]
            else:
                scores_BV[b, items_A] = weight_AA[column].sum(axis=0)
        else:
            scores_BV[b] = a["fallback"]
    return scores_BV


def recency(requests: Requests, a: Arrays) -> np.ndarray:
    """Newest items of the history first, then the rest: float32 (B, V)."""
    scores_BV = np.repeat(a["rest"][None, :], len(requests), axis=0)
    offsets, rows = requests.flat(a["types"].tolist())
    owner = np.repeat(np.arange(len(requests)), np.diff(offsets))
    place = np.arange(len(rows)) - offsets[owner]
    # Rows run from old to new, and of several values for one cell NumPy keeps the last.
    scores_BV[owner, requests.events.item[rows]] = place + 1
    return scores_BV


def personal_frequency(requests: Requests, a: Arrays) -> np.ndarray:
    """Own items by decayed count, then the rest: float32 (B, V)."""
    V = len(a["rest"])
    _, rows, owner, weight = weights(requests, a)
    cell = owner * V + requests.events.item[rows]
    own_BV = np.bincount(cell, weight, len(requests) * V).reshape(-1, V)
    # Asked before the cast: an old item whose weight is too small for float32 is the customer's own all the same.
    return a["rest"] + np.where(own_BV > 0, 1 + own_BV.astype(np.float32), np.float32(0))


def item_knn(requests: Requests, a: Arrays) -> np.ndarray:
    """Neighbour lists of the history's items added up, where they reach; else the fallback: float32 (B, V)."""
    V = len(a["fallback"])
    offsets, rows, owner, weight = weights(requests, a)
    if a["half_life_events"][0] > 0:
        age = offsets[owner + 1] - 1 - np.arange(len(rows))
        weight = weight * np.exp2(-age / a["half_life_events"][0])
    items = requests.events.item[rows]
    reached_BV = added(owner, items, weight.astype(np.float32), a, "", (len(requests), V))
    return np.where(reached_BV > 0, reached_BV, a["fallback"])


def tifu_knn(requests: Requests, a: Arrays) -> np.ndarray:
    """Own decayed frequencies mixed with those of the nearest training customers: float32 (B, V)."""
    return in_blocks(requests, a, len(a["square"]), _tifu_knn)


def _tifu_knn(requests: Requests, a: Arrays) -> np.ndarray:
    fallback_V, U, share = a["fallback"], len(a["square"]), float(a["own_share"][0])
    B, V = len(requests), len(fallback_V)
    baskets = Baskets.of(requests, a["types"].tolist(), V)
    weight = basket_weights(baskets, *a["decay"].tolist())
    cell = np.bincount(baskets.owner * V + baskets.item, weight, B * V).reshape(B, V)
    own_BV, some_BV = cell.astype(np.float32), cell > 0
    owner, item = np.nonzero(some_BV)
    neighbours_BV = own_BV * np.float32(0)
    if U:
        near_BU = 2 * added(owner, item, own_BV[owner, item], a, "of_item_", (B, U)) - a["square"]
        chosen_BK = np.sort(best_columns(near_BU, int(a["neighbours"][0])), axis=1)
        k = chosen_BK.shape[1]
        mean = np.full(B * k, 1 / k, np.float32)
        neighbours_BV = added(np.repeat(np.arange(B), k), chosen_BK.ravel(), mean, a, "", (B, V))
    reached_BV = own_BV * np.float32(share) + neighbours_BV * np.float32(1 - share)
    reached_BV[~some_BV.any(axis=1)] = 0.0  # nobody is near to an empty history
    return np.where(reached_BV > 0, reached_BV, fallback_V)


def up_cf(requests: Requests, a: Arrays) -> np.ndarray:
    """Own shares of the newest baskets, and those of similar training customers: float32 (B, V)."""
    return in_blocks(requests, a, len(a["square"]), _up_cf)


def _up_cf(requests: Requests, a: Arrays) -> np.ndarray:
    B, V, U = len(requests), len(a["fallback"]), len(a["square"])
    asymmetry, locality, k = a["similar"].tolist()
    baskets = Baskets.of(requests, a["types"].tolist(), V)
    weight = newest_weights(baskets, int(a["newest"][0]), float(a["newest"][1]))
    own_BV = np.bincount(baskets.owner * V + baskets.item, weight, B * V).reshape(B, V).astype(np.float32)
    owner, item = np.nonzero(own_BV)
    both_BU = added(owner, item, own_BV[owner, item], a, "of_item_", (B, U))
    b, u = np.nonzero(both_BU)
    length_B = (own_BV**2).sum(axis=1)
    near = both_BU[b, u] / (length_B[b] ** asymmetry * a["square"][u] ** (1 - asymmetry))
    near = near.astype(np.float32) ** np.float32(locality)
    kept = best_of_each(b, u, near, int(k))
    b, u, near = b[kept], u[kept], near[kept]
    reached_BV = own_BV + added(b, u, near, a, "", (B, V))
    return np.where(reached_BV > 0, reached_BV, a["fallback"])


def item_to_item(requests: Requests, a: Arrays) -> np.ndarray:
    """Rules from the last order's lines or, with `anchors` above 0, from what was seen since: float32 (B, V)."""
    B, V = len(requests), len(a["fallback"])
    steps = Steps.of(requests, a["types"].tolist(), V)
    if a["anchors"][0] > 0:
        step, item, weight = steps.seen_entries(int(a["anchors"][0]), float(a["decay"][0]))
        wanted_B = steps.last + 1
    else:
        step, item, weight = steps.bought_entries()
        wanted_B = np.maximum(steps.last, steps.first)
    of_step = np.full(len(steps.owner), -1)
    of_step[wanted_B] = np.arange(B)
    owner = of_step[step]
    here = owner >= 0
    reached_BV = added(owner[here], item[here], weight[here], a, "", (B, V))
    return np.where(reached_BV > 0, reached_BV, a["fallback"])


def two_stage(requests: Requests, a: Arrays) -> np.ndarray:
    """What candidate models propose, in the order of the trees: float32 (B, V); without trees the first model alone.

    The arrays of candidate n are named `n/…`, those of the trees `trees/…`.
    """
    names = a["candidates"].tolist()
    scored = [LIST_SCORERS[name](requests, below(a, str(n))) for n, name in enumerate(names)]
    trees = below(a, "trees")
    if not trees:
        return scored[0]
    scores_BV = np.repeat(a["fallback"][None, :], len(requests), axis=0)
    facts, types = ItemFacts(a["facts"]), a["types"].tolist()
    owner, item, features = pairs(requests, scored, facts, types, a["catalogue"], int(a["per_model"][0]))
    asked = requests.lengths[owner] > 0
    if asked.any():
        scores_BV[owner[asked], item[asked]] = ranked(tree_sums(features[asked], trees))
    return scores_BV


def with_fallback(requests: Requests, a: Arrays) -> np.ndarray:
    """Two programs, named in `scorers`, their arrays `0/…` and `1/…`: the second for histories without `types`."""
    first, otherwise = a["scorers"].tolist()
    return either(
        requests,
        a["types"].tolist() if "types" in a else None,
        lambda some: LIST_SCORERS[first](some, below(a, "0")),
        lambda some: LIST_SCORERS[otherwise](some, below(a, "1")),
    )


def reads_page(scorer: str, a: Arrays) -> bool:
    """Whether a program chooses candidates, which are those of a page where a request has one."""
    if scorer == "with_fallback":
        return any(reads_page(str(name), below(a, str(n))) for n, name in enumerate(a["scorers"]))
    return scorer == "two_stage"


def vectors(requests: Requests, a: Arrays, fold: Fold) -> np.ndarray:
    """Inner products of items' vectors with the one that is folded in; else the fallback: float32 (B, V)."""
    vector_BD, blank_B = request_vectors(requests, a, fold)
    scores_BV = vector_BD @ a["item"].T
    scores_BV[blank_B] = a["fallback"]
    return scores_BV


def request_vectors(requests: Requests, a: Arrays, fold: Fold) -> tuple[np.ndarray, np.ndarray]:
    """The vectors that are folded in, float32 (B, D), and who has none: bool (B,)."""
    V = len(a["fallback"])
    owner, item, weight = own_items(requests, a, V)
    has_vector = (a["item"] != 0).any(axis=1)[item]
    owner, item, weight = owner[has_vector], item[has_vector], weight[has_vector]
    indptr = np.searchsorted(owner, np.arange(len(requests) + 1))
    return folded(indptr, item, weight, a, fold), np.diff(indptr) == 0


def ranked(raw: np.ndarray) -> np.ndarray:
    """Sums of trees -> (0, 1), in the same order: above whatever nobody proposes."""
    return 0.5 + np.arctan(raw) / np.pi


def below(arrays: Arrays, name: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin with `name/`, without it."""
    return {k[len(name) + 1 :]: v for k, v in arrays.items() if k.startswith(f"{name}/")}


FOLDS: dict[str, Fold] = {"bpr": bpr, "ials": ials}  # whose scores are products of vectors
LIST_SCORERS: dict[str, Callable[[Requests, Arrays], np.ndarray]] = {
    "ease": ease,
    "item_knn": item_knn,
    "item_to_item": item_to_item,
    "personal_frequency": personal_frequency,
    "popularity": popularity,
    "recency": recency,
    "tifu_knn": tifu_knn,
    "up_cf": up_cf,
    "buy_it_again": buy_it_again,
    **{name: partial(vectors, fold=fold) for name, fold in FOLDS.items()},
    "session_knn": session_knn,
    "slim": slim,
    "user_knn": user_knn,
    "two_stage": two_stage,
    "segment_popularity": segment_popularity,
    "content_affinity": content_affinity,
    "with_fallback": with_fallback,
}


def best(
    scores_BV: np.ndarray, catalogue: np.ndarray, hidden: Sequence[Sequence[int] | np.ndarray], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k best items of the catalogue that are not hidden and their scores, (B, K); equal scores: lower id first.

    Where fewer may be shown, the rest is item 0 with score -inf: as the graphs of other models answer.
    """
    items_BK = np.zeros((len(scores_BV), k), np.int64)
    scores_BK = np.full((len(scores_BV), k), -np.inf, np.float32)
    for b, scores_V in enumerate(scores_BV):
        shown = np.setdiff1d(catalogue, np.asarray(hidden[b], catalogue.dtype))  # ascending
        scores = scores_V[shown]
        if len(shown) > k:
            near = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])
            shown, scores = shown[near], scores[near]
        order = np.argsort(-scores, kind="stable")[:k]
        items_BK[b, : len(order)], scores_BK[b, : len(order)] = shown[order], scores[order]
    return items_BK, scores_BK
