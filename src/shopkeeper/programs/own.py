"""What the own history gives the scores of its items, beside a network's graph: the NumPy of `nn.own`.

The graph scores all items and is told the own ones, and what stands in the place of its scores of them, to which it
adds so much (`near`) of what it said.

Shapes: B requests, R pairs of a request and an own item, V = n_items + 1 columns.
"""

from __future__ import annotations

import numpy as np

from shopkeeper.data.own import OwnRows
from shopkeeper.data.requests import Requests
from shopkeeper.programs.sums import Arrays
from shopkeeper.schema import NO_TIME


def own_items(requests: Requests, a: Arrays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whose, which, and its score: int64 (R,), int64 (R,), float32 (R,), by request; 0 where the graph knows it itself.

    `a`: `known` (V,), `types` and `targets` (codes), `clock` (whether ages are read), `usual` (V,), `demand` (S, V)
    of several half-lives, `trust` (1,) and, unless the graph scores own items by a projection of its own, the small
    network's weights.
    """
    offsets, rows = requests.flat(a["types"].tolist())
    events = requests.events
    known = a["known"][events.item[rows]]
    offsets, rows = np.append(0, np.cumsum(known))[offsets], rows[known]
    columns = (None if c is None else c[rows] for c in (events.timestamp, events.order, events.session))
    own = OwnRows.of(offsets, events.item[rows], events.event_type[rows], a["targets"].tolist(), *columns)
    asked = np.flatnonzero(np.diff(offsets))
    row_Q = offsets[asked + 1] - 1
    query, row = own.pairs(row_Q)
    item = own.item[row].astype(np.int64)
    if "out" not in a:
        return asked[query], item, np.zeros(len(item), np.float32)
    demand_SR = np.atleast_2d(a["demand"])[:, item]  # bundles of before have one half-life
    features = [own.counts(query, row, row_Q), demand_SR.T]
    if a["clock"][0]:
        assert own.time is not None
        at_Q = own.time[row_Q]
        if requests.instant is not None:
            told = requests.instant[asked]
            at_Q = np.where(told == NO_TIME, at_Q, told)
        features.append(own.times(query, row, row_Q, at_Q, a["usual"]))
    lacks = sum(part.shape[1] for part in features) - a["weight"].shape[1]
    features[0] = features[0][:, : features[0].shape[1] - lacks]  # bundles of before do not know the last of the counts
    told_RF = np.concatenate(features, 1)
    hidden_RH = told_RF @ a["weight"].T + a["bias"] + a["kind"][own.kind[row]]
    hidden_RH = np.maximum(hidden_RH, 0)
    if "second" in a:  # not in bundles of before
        hidden_RH = hidden_RH + np.maximum(hidden_RH @ a["second"].T + a["second_bias"], 0)
    value_R = hidden_RH @ a["out"] + a["again"][item]
    if "direct" in a:  # not in bundles of before
        value_R += told_RF @ a["direct"]
    # Where the graph adds so much of its own score of the item, there is demand in that.
    trust = a["trust"][0] * (1 - a["near"][0] if "near" in a else 1)
    return asked[query], item, (value_R + trust * demand_SR[0]).astype(np.float32)
