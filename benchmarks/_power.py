"""How sure a lead can be at all, with so many customers and so many comparisons that are judged together."""

from __future__ import annotations

from statistics import NormalDist

import pyarrow as pa

from shopkeeper.evaluation.aggregates import compare

SURE, POWER = 0.95, 0.8


def lead(worse: pa.Table, better: pa.Table, metric: str, family: int) -> dict[str, float]:
    """By how much the better table leads in a loss, half an interval of that, and how many customers would do.

    Both alone and among `family` comparisons, whose intervals are taken as wide as Bonferroni's: a little wider than
    those of a resampling that knows how comparisons go together.
    """
    (one,) = compare({"worse": worse, "better": better}, (metric,), test="randomisation")
    by, spread = -one.difference, abs(one.difference / one.effect_size)
    found = {"lead": by, "customers": float(one.n_users)}
    for how, n in {"alone": 1, f"among {family}": family}.items():
        z = NormalDist().inv_cdf(1 - (1 - SURE) / 2 / n)
        found[f"half an interval, {how}"] = z * spread / one.n_users**0.5
        needed = (spread / by * (z + NormalDist().inv_cdf(POWER))) ** 2
        found[f"customers with whom such a lead is sure four times in five, {how}"] = needed
    return found
