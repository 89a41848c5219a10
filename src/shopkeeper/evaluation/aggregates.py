r"""Models compared on metrics that are no means over rows (AUROC, average precision, ECE, lift), as one family.

What `compare.py` says of means: all pairs on all metrics are judged together, interval and adjusted p-value come from
one resampling, and a customer who stands at several cutoffs is drawn with all rows, in all models alike. With the
difference $d$, its resamples $d^*_r$ and their standard deviation $s$, the largest $|d^*_r - \bar{d^*}| / s$ of the
family in each resample gives the intervals $d \pm c \, s$ and, by its tail beyond $|d| / s$, the adjusted p-values
(max-T, as in `family.py`). Centred at the mean of the resamples, not at $d$: a resample adds noise to the noise of the
sample, by which calibration error grows.

Shapes: n rows, C customers, M models, P comparisons, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import ceil, nan
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.errors import UserError, nearest
from shopkeeper.evaluation.compare import POWER, Comparison, compare_family
from shopkeeper.evaluation.family import METHOD, bounds, least_p, verdict
from shopkeeper.evaluation.resampling import drawn_rows
from shopkeeper.evaluation.rows.kinds import floats, kind_of
from shopkeeper.evaluation.table import metadata_of, metrics_of

BY = ("instant", "user_id", "subject", "request")  # what puts rows in one order
ENOUGH = 50  # resamples beyond the level at least: each costs as much as all figures of a model


def compare(tables: Mapping[str, pa.Table], metrics: Sequence[str], **options: Any) -> list[Comparison]:
    """All pairs of the named tables: on metrics that are means as one family, on all others as a second one.

    Fewer than two tables give none. `options` as of `compare_family`.
    """
    first = next(iter(tables.values()))
    columns, aggregates = metrics_of(first), kind_of(first).aggregates
    others = [m for m in dict.fromkeys(metrics) if m in aggregates and m not in columns]
    means = [m for m in dict.fromkeys(metrics) if m not in others]
    of_means = options | {"smallest_effect": options.get("smallest_effect", 0.003) * kind_of(first).unit(first)}
    found = compare_family(tables, means, **of_means) if means and len(tables) > 1 else []
    resampled = {key: value for key, value in options.items() if key != "test"}
    return found + (compare_aggregates(tables, others, **resampled) if others else [])


def compare_aggregates(
    tables: Mapping[str, pa.Table],
    metrics: Sequence[str],
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    smallest_effect: float = 0.003,
    seed: int = 0,
) -> list[Comparison]:
    """All pairs of the named tables on all metrics, judged as one family by bootstrap over customers.

    Compared on the rows that all of the tables have a score for; where there is none, each pair says that nothing can
    be said. A table without any score is left out, and fewer than two others make no pair. A metric that a model has no
    value of (the rank correlation of one answer for all) takes nothing from the others.

    Raises:
        UserError: the tables answer different tasks (target hash), or a metric is none of their kind's aggregates.
    """
    table = next(iter(tables.values()))
    aggregates, unit = kind_of(table).aggregates, kind_of(table).unit(table)
    for metric in metrics:
        if metric not in aggregates:
            raise UserError(f"unknown metric '{metric}'.{nearest(metric, aggregates)}")
    label, customer, score = _paired(tables)
    names = list(score)
    family = [(metric, a, b) for metric in metrics for a, b in combinations(range(len(names)), 2)]
    if not family:
        return []
    matters = [smallest_effect * (unit if aggregates[metric].in_units else 1.0) for metric, _, _ in family]
    if not len(label):
        return [
            Comparison(
                metric, names[i], names[j], nan, nan, nan, nan, nan, nan, nan, effect_size=0.0, n=0, n_users=0,
                users_needed=0, smallest_effect=effect, confidence=confidence, family=len(family),
                method=METHOD["bootstrap"],
            )
            for (metric, i, j), effect in zip(family, matters, strict=True)
        ]  # fmt: skip
    resamples = max(resamples, ceil(ENOUGH / (1 - confidence)))
    order = [np.argsort(-p, kind="stable") for p in score.values()]  # highest first: nothing is sorted again
    rows = [(label[o], p[o], o) for o, p in zip(order, score.values(), strict=True)]
    value = np.array([[float(aggregates[m].value(y, p, None)) for y, p, _ in rows] for m in metrics])
    drawn = np.concatenate(
        [
            np.stack([[aggregates[m].value(y, p, w_Rn[:, o]) for y, p, o in rows] for m in metrics], axis=0)
            for w_Rn in drawn_rows(customer, resamples, seed)
        ],
        axis=2,
    )  # (metrics, M, R)
    place = [metrics.index(m) for m, _, _ in family]
    a, b = (np.array([pair[side] for pair in family]) for side in (1, 2))
    difference = value[place, b] - value[place, a]
    off = drawn[place, b] - drawn[place, a]
    off = off[:, ~np.isnan(off[~np.isnan(difference)]).any(axis=0)]
    n_customers = int(customer.max()) + 1
    p = np.stack(list(score.values()))
    differ = np.array([len(np.unique(customer[p[i] != p[j]])) for _, i, j in family])
    error, low, high, p_value, p_adjusted, critical = _judged(difference, off, differ, n_customers, confidence)
    spread = np.nan_to_num(error) * np.sqrt(n_customers)
    needed = np.nan_to_num(((critical + NormalDist().inv_cdf(POWER)) * spread / np.array(matters)) ** 2, posinf=0.0)
    return [
        Comparison(
            metric, names[i], names[j], float(value[place[c], i]), float(value[place[c], j]),
            float(difference[c]), float(low[c]), float(high[c]), float(p_value[c]), float(p_adjusted[c]),
            float(difference[c] / spread[c]) if spread[c] > 0 else 0.0,
            len(label), n_customers, ceil(needed[c]), matters[c], confidence, int(differ[c]), len(family),
            METHOD["bootstrap"],
        )
        for c, (metric, i, j) in enumerate(family)
    ]  # fmt: skip


def _paired(tables: Mapping[str, pa.Table]) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Labels and customers (0..C-1) of the rows that all score, and each table's probabilities there."""
    first, *others = tables
    for other in others:
        if metadata_of(tables[first]).get("target_hash") != metadata_of(tables[other]).get("target_hash"):
            raise UserError(
                f"'{first}' and '{other}' were evaluated on different customers, cutoffs or labels (target hashes "
                f"differ); evaluate both on the same prepared data"
            )
    key = [
        (name, "ascending")
        for name in ("instant", "user_id", "subject", "request")
        if name in tables[first].column_names
    ]
    ordered = {name: table.sort_by(key) for name, table in tables.items()}
    kind = kind_of(ordered[first])
    score = {name: floats(table, kind.answer[0]) for name, table in ordered.items()}
    score = {name: p for name, p in score.items() if not np.isnan(p).all()}
    if len(score) < 2:
        return np.zeros(0), np.zeros(0, np.int64), {}
    scored = ~np.isnan(np.stack(list(score.values()))).any(axis=0)
    who = ordered[first]["user_id"].to_numpy(zero_copy_only=False)[scored]
    label = floats(ordered[first], kind.truth[0])[scored]
    return label, np.unique(who, return_inverse=True)[1], {name: p[scored] for name, p in score.items()}


def _judged(
    difference: np.ndarray, drawn_PR: np.ndarray, differ: np.ndarray, n_customers: int, confidence: float
) -> tuple[np.ndarray, ...]:
    """Standard errors, bounds, p-values alone and in the family, and how many errors an interval reaches."""
    nothing = np.full(len(difference), np.nan)
    if n_customers < 2 or drawn_PR.shape[1] < 2:
        return nothing, nothing, nothing, nothing, nothing, np.array(0.0)
    level = 1 - confidence
    off_PR = drawn_PR - drawn_PR.mean(axis=1, keepdims=True)
    error = off_PR.std(axis=1, ddof=1)
    error[error <= 1e-12 * np.abs(drawn_PR).max(axis=1, initial=1e-300)] = 0.0  # rounding
    with np.errstate(invalid="ignore", divide="ignore"):
        deviate_PR = np.where(error[:, None] > 0, np.abs(off_PR) / error[:, None], 0.0)
        observed = np.where(difference == 0, 0.0, np.abs(difference) / error) * (1 - 1e-9)
    reached = (deviate_PR >= observed[:, None]).sum(axis=1)
    p_value, p_adjusted, critical = verdict(deviate_PR.max(axis=0), observed, reached, least_p(differ), level)
    low, high = bounds(difference, critical * error, p_adjusted > level)
    for values in (low, high, p_value, p_adjusted):
        values[np.isnan(difference)] = np.nan
    return error, low, high, p_value, p_adjusted, np.array(critical)
