r"""What each feature adds to what trees say of a row: exact Shapley values, from one small table per tree.

With x_S known and the rest as it came in training (the shares of rows that went each way), a leaf of value v whose path
asks the features f = 1 … d is reached with weight \prod_f (o_f or z_f): o_f is 1 where the row agrees with all that the
path asks of f, z_f is the share of training rows that do. Its part in the Shapley value of f is

    v (o_f - z_f) \int_0^1 \prod_{j \ne f} (o_j t + z_j (1 - t)) dt,

since |S|! (d - 1 - |S|)! / d! = \int t^{|S|} (1 - t)^{d - 1 - |S|} dt; a polynomial of degree d - 1, which Gauss-
Legendre quadrature integrates exactly. All of it depends on a row only through which way it goes at each node, so that
a tree of a few nodes has a table of all ways, made once: rows are then compared, and looked up. The values are those
of S. Lundberg, G. Erion and S. Lee, "Consistent individualized feature attribution for tree ensembles", arXiv
1802.03888 (2018); tables ahead of rows after J. Yang, "Fast TreeSHAP", arXiv 2109.09847 (2021).

Shapes: n rows, F features, C = 2^k ways through k nodes, Q points of the integral.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, reduce
from operator import and_
from typing import Any

import numpy as np

MOST = 10  # nodes of one table
LONGEST = 14  # features on the path of one leaf, which then has a table of its own
BLOCK = 16_384  # rows worked on at once: what is compared and looked up stays in the cache


@dataclass(frozen=True)
class Contributions:
    """What adds up to a score: `base` and a share of each feature."""

    base: float  # what is said of nobody in particular
    share: np.ndarray  # float64 (n, F)
    unit: str = "log-odds"  # of base, shares and score

    @property
    def score(self) -> np.ndarray:
        """What they add up to: float64 (n,)."""
        return self.base + self.share.sum(axis=1)


Step = tuple[int, bool, float]  # node, whether the path goes left there, share of the node's rows that do


@dataclass(frozen=True)
class _Leaf:
    value: float
    path: tuple[Step, ...]  # from the root

    def of_features(self, nodes: Nodes) -> dict[int, list[Step]]:
        """The steps of the path by the feature that they ask."""
        found: dict[int, list[Step]] = {}
        for step in self.path:
            found.setdefault(int(nodes[step[0]]["split_feature"]), []).append(step)
        return found


Nodes = list[dict[str, Any]]
Tree = tuple[Nodes, list[_Leaf]]


@dataclass(frozen=True)
class _Table:
    """What some leaves of one tree add, by what holds of a row."""

    asked: tuple[tuple[tuple[int, bool], ...], ...]  # bit j of a way: a row takes these nodes so, all of them
    features: tuple[int, ...]
    share: np.ndarray  # float64 (len(features), C)


def tree_shares(booster: Any, features_nF: np.ndarray, threads: int = 1) -> Contributions:
    """Shares of every feature in `booster.predict(raw_score=True)`.

    A forest with a path of more than `LONGEST` features is left to LightGBM, which says the same more slowly.
    """
    trees = [_leaves(tree["tree_structure"]) for tree in booster.dump_model()["tree_info"]]
    base = sum(leaf.value * float(np.prod([share for *_, share in leaf.path])) for _, all_ in trees for leaf in all_)
    if len(features_nF) and any(map(_not_for_tables, trees)):
        both = np.asarray(booster.predict(features_nF, pred_contrib=True, num_threads=threads))
        return Contributions(float(both[0, -1]), both[:, :-1])
    columns = np.ascontiguousarray(features_nF.T, dtype=np.float64)
    unknown = np.isnan(columns)
    gaps: np.ndarray = np.asarray(unknown.any(axis=1))
    share_Fn = np.zeros(columns.shape)
    for nodes, leaves in trees:
        for table in _tables(nodes, leaves):
            for first in range(0, columns.shape[1], BLOCK):
                here = slice(first, first + BLOCK)
                way = np.zeros(columns[0, here].shape, np.uint16)
                for j, steps in enumerate(table.asked):
                    holds = reduce(
                        and_,
                        (_takes(nodes[node], left, columns[:, here], unknown[:, here], gaps) for node, left in steps),
                    )
                    way |= holds.astype(np.uint16) << np.uint16(j)
                for f, values in zip(table.features, table.share, strict=True):
                    share_Fn[f, here] += values[way]
    return Contributions(base, np.ascontiguousarray(share_Fn.T))


def _not_for_tables(tree: Tree) -> bool:
    """Splits by category, or with zeros as missing values, which `<=` does not say; paths of too many features."""
    nodes, leaves = tree
    strange = any(node["decision_type"] != "<=" or node["missing_type"] == "Zero" for node in nodes)
    return strange or any(len(leaf.path) > LONGEST and len(leaf.of_features(nodes)) > LONGEST for leaf in leaves)


def _takes(
    node: dict[str, Any], left: bool, columns_Fn: np.ndarray, unknown_Fn: np.ndarray, gaps: np.ndarray
) -> np.ndarray:
    """Which rows go left at a node, or right: bool (n,)."""
    f = node["split_feature"]
    found: np.ndarray = columns_Fn[f] <= node["threshold"]
    unknown_left = node["default_left"] if node["missing_type"] == "NaN" else node["threshold"] >= 0
    if unknown_left and gaps[f]:
        found |= unknown_Fn[f]
    return found if left else ~found


def _leaves(root: dict[str, Any]) -> Tree:
    """The nodes of a tree, and its leaves from left to right."""
    nodes: Nodes = []
    found: list[_Leaf] = []
    waiting: list[tuple[dict[str, Any], tuple[Step, ...]]] = [(root, ())]
    while waiting:
        node, path = waiting.pop()
        if "leaf_value" in node:
            found.append(_Leaf(float(node["leaf_value"]), path))
            continue
        nodes.append(node)
        for side in ("right_child", "left_child"):  # the last one comes first
            child = node[side]
            rows = child["internal_count"] if "internal_count" in child else child["leaf_count"]
            step = (len(nodes) - 1, side == "left_child", rows / node["internal_count"])
            waiting.append((child, (*path, step)))
    return nodes, found


def _tables(nodes: Nodes, leaves: list[_Leaf]) -> Iterator[_Table]:
    """Neighbouring leaves together, as long as few nodes lie on their paths; one on a long path by its features."""
    some: list[_Leaf] = []
    asked: set[int] = set()
    for leaf in leaves:
        own = {node for node, *_ in leaf.path}
        if len(own) > MOST:
            steps = leaf.of_features(nodes).values()
            yield _table(nodes, [leaf], [tuple((node, left) for node, left, _ in each) for each in steps])
            continue
        if len(asked | own) > MOST:
            yield _table(nodes, some, [((node, True),) for node in sorted(asked)])
            some, asked = [], set()
        some.append(leaf)
        asked |= own
    if asked:
        yield _table(nodes, some, [((node, True),) for node in sorted(asked)])


def _table(nodes: Nodes, leaves: list[_Leaf], asked: list[tuple[tuple[int, bool], ...]]) -> _Table:
    features = sorted({int(nodes[node]["split_feature"]) for steps in asked for node, _ in steps})
    way_C = np.arange(1 << len(asked))
    holds = {step: (way_C >> j & 1).astype(bool) for j, steps in enumerate(asked) for step in steps}
    holds |= {(node, not left): ~bit for (node, left), bit in holds.items() if (node, not left) not in holds}
    share = np.zeros((len(features), len(way_C)))
    for leaf in leaves:
        own = leaf.of_features(nodes)
        agrees = np.zeros(len(way_C), np.int64)  # bit i: the row does all that the path asks of its feature i
        for i, steps in enumerate(own.values()):
            agrees |= reduce(and_, (holds[node, left] for node, left, _ in steps)).astype(np.int64) << i
        of_leaf = _leaf_shares(leaf.value, np.array([np.prod([part for *_, part in steps]) for steps in own.values()]))
        share[np.searchsorted(features, list(own))] += of_leaf[:, agrees]
    return _Table(tuple(asked), tuple(features), share)


def _leaf_shares(value: float, known_d: np.ndarray) -> np.ndarray:
    """Shares of the d features of a leaf's path, by which of them a row agrees with: float64 (d, 2^d)."""
    d = len(known_d)
    agrees = (np.arange(1 << d) >> np.arange(d)[:, None] & 1).astype(np.float64)
    t_Q, weight_Q = _quadrature(d // 2 + 1)
    between = agrees[:, None] * t_Q[:, None] + known_d[:, None, None] * (1 - t_Q)[:, None]
    rest = (weight_Q[:, None] * (between.prod(axis=0) / between)).sum(axis=1)
    shares: np.ndarray = value * (agrees - known_d[:, None]) * rest
    return shares


@cache
def _quadrature(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights of Gauss and Legendre on [0, 1]."""
    points, weights = np.polynomial.legendre.leggauss(n)
    return (points + 1) / 2, weights / 2
