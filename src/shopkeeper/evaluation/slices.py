"""For whom the winner is not the best: models within each slice of the table, judged as one family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.evaluation.compare import LOWER_IS_BETTER, align, digits_apart, finite_values, metric_label
from shopkeeper.evaluation.family import METHOD, Part, judge, least_p
from shopkeeper.evaluation.intervals import finite, mean_interval, per_user
from shopkeeper.evaluation.rows.slices import ORDER
from shopkeeper.evaluation.table import SLICE, slices_of, users_of
from shopkeeper.metrics.ranking import is_share

SMALL = 100  # requests; a smaller slice, or one of too few customers, is marked and not tested


def slice_results(
    tables: Mapping[str, pa.Table],
    metric: str,
    *,
    winner: str | None = None,
    small: int = SMALL,
    confidence: float = 0.95,
    resamples: int = 1000,
    test: str = "randomisation",
    seed: int = 0,
) -> dict[str, Any]:
    """Each model in each slice with n and interval, and the slices in which the winner loses.

    Gives {"metric", "winner", "small_below", "slices": [{"slice", "value", "n", "n_users", "small",
    "models": {name: {"value", "low", "high", "n"}}}], "losses": [{"slice", "value", "n", "to", "difference", "low",
    "high", "p_value", "p_adjusted", "statement"}], "tests", "method"}. `winner` defaults to the best mean. Its
    deficits in the slices that are not small are judged against every other model, all of them (`tests`) as one family:
    `low` and `high` of the losses hold together, and exclude 0. A model that leads over all loses rarely by chance, so
    having been chosen on the same requests makes it none the easier to accuse.
    """
    aligned = align(tables)
    names = list(aligned)
    first = aligned[names[0]]
    everyone, user = np.unique(users_of(first), return_inverse=True)
    n_all = len(everyone)
    value = np.stack([finite_values(aligned[name], name, metric) for name in names], axis=1)
    share = is_share(metric)
    sign = -1 if metric.partition("@")[0] in LOWER_IS_BETTER else 1
    if winner is None:
        filled, n_known = np.nan_to_num(value).sum(0), (~np.isnan(value)).sum(0)
        means = np.divide(sign * filled, n_known, out=np.full(len(names), -np.inf), where=n_known > 0)
        winner = names[int(np.argmax(means))]
    own = names.index(winner)
    others = [j for j in range(len(names)) if j != own]
    parts: list[Part] = []
    rows: list[dict[str, Any]] = []
    tests: list[dict[str, Any]] = []
    for column in slices_of(first):
        label = np.asarray(pc.fill_null(first[f"{SLICE}{column}"].cast(pa.string()), "unknown").to_pylist(), object)
        for kind, mask in _kinds(label):
            some, who = value[mask], user[mask]
            interval = mean_interval(
                some, who, confidence=confidence, resamples=resamples, seed=seed, shares=np.full(len(names), share)
            )
            n, n_users = int(mask.sum()), len(np.unique(who))
            facts = {"slice": column, "value": kind, "n": n}
            models = dict(zip(names, interval.as_dicts(), strict=True))
            few = bool(n < small or least_p(n_users) > 1 - confidence)
            rows.append({**facts, "n_users": n_users, "small": few, "models": models})
            kept = np.flatnonzero((~np.isnan(some[:, [own]] - some[:, others])).any(0))
            if len(kept) and not few:
                tests += [{**facts, "to": names[others[i]]} for i in kept]
                within = some[:, [own]] - some[:, [others[i] for i in kept]]
                parts.append(Part(*per_user(within, who), users=np.unique(who)))
    found = judge(parts, n_all, confidence=confidence, resamples=resamples, test=test, seed=seed)
    losses = []
    for i, one in enumerate(tests):
        one["difference"] = float(found.mean[i])
        one |= {k: finite(getattr(found, k)[i]) for k in ("low", "high", "p_value", "p_adjusted")}
        if sign * one["difference"] < 0 and (found.low[i] > 0 or found.high[i] < 0):
            bounds = sorted((-sign * one["low"], -sign * one["high"]))
            digits = digits_apart(one["difference"], *bounds)
            one["statement"] = (
                f"in {one['slice'].replace('_', ' ')} = {one['value']} ({one['n']:,} requests) {winner} is worse "
                f"than {one['to']} by {abs(one['difference']):.{digits}f} {metric_label(metric)} "
                f"({bounds[0]:.{digits}f} to {bounds[1]:.{digits}f})"
            )
            losses.append(one)
    losses.sort(key=lambda t: sign * t["difference"])
    return {
        "metric": metric,
        "winner": winner,
        "small_below": small,
        "slices": rows,
        "losses": losses,
        "tests": len(tests),
        "method": METHOD[test],
    }


def _kinds(label: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Values of a slice with their masks: known bands in their order, else the most frequent first."""
    kinds, count = np.unique(label.astype(str), return_counts=True)
    place = {name: i for i, name in enumerate(ORDER)}
    ordered = sorted(zip(kinds, count, strict=True), key=lambda x: (place.get(x[0], -int(x[1])), x[0]))
    if any(k in place for k in kinds):
        ordered = sorted(ordered, key=lambda x: (place.get(x[0], -1), -int(x[1]), x[0]))
    return [(str(kind), label == kind) for kind, _ in ordered]
