"""Do the intervals cover the truth and the tests err as often as they say? Simulations of 2,000 experiments each.

    python benchmarks/error_rates.py

Values are NDCG@10 of requests with one target: 0 for most, 1 / log2(rank + 1) for some. Users differ in how often they
are served well. (Not called `statistics`, which would hide the standard library's module from its neighbours.)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from _results import at_least, at_most, row, write_result
from shopkeeper.evaluation.compare import compare_family
from shopkeeper.evaluation.intervals import METHODS, mean_interval
from shopkeeper.evaluation.seeds import over_seeds

GAIN = 1 / np.log2(np.arange(2, 12))
FACTS = {"dataset": "simulated", "target_hash": "none"}


def ndcg(rng: np.random.Generator, chance: np.ndarray) -> np.ndarray:
    """One value per request: the target is among the first ten with this chance, at any place alike."""
    return np.where(rng.random(chance.shape) < chance, GAIN[rng.integers(0, 10, chance.shape)], 0.0)


def alone(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """300 users with one request each."""
    return ndcg(rng, np.full(300, 0.25)), np.arange(300), 0.25 * GAIN.mean()


def clustered(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """200 users with one to ten requests; those who come more often are served better."""
    often = rng.random(200) < 0.3
    times = np.where(often, 10, rng.integers(1, 4, 200))
    chance = np.where(often, rng.beta(4, 6, 200), rng.beta(1, 4, 200))
    user = np.repeat(np.arange(200), times)
    truth = (0.3 * 10 * 0.4 + 0.7 * 2 * 0.2) / (0.3 * 10 + 0.7 * 2) * GAIN.mean()
    return ndcg(rng, chance[user]), user, truth


def table(values: np.ndarray, user: np.ndarray, name: str, seed: int = 0) -> pa.Table:
    columns = {"request": np.arange(len(values)), "user": (user + 1).astype(np.int32), "ndcg@10": values}
    meta = json.dumps({**FACTS, "model": name, "seed": seed})
    return pa.table(columns).replace_schema_metadata({"shopkeeper": meta})


def coverage(experiments: int, make: Callable[..., Any], method: str) -> float:
    """Share of 95 % intervals that hold the true mean."""
    rng, held = np.random.default_rng(1), 0
    for e in range(experiments):
        values, user, truth = make(rng)
        interval = mean_interval(values, user, method=method, resamples=1000, seed=e)
        held += bool(interval.low[0] <= truth <= interval.high[0])
    return held / experiments


def false_positives(experiments: int, test: str, models: int) -> float:
    """Share of experiments in which equally good models are told apart (any pair; all are one family)."""
    rng, wrong = np.random.default_rng(2), 0
    for e in range(experiments):
        times = rng.integers(1, 7, 200)
        user = np.repeat(np.arange(200), times)
        both = rng.beta(2, 6, 200)  # what a user's requests share, whatever the model
        chance = np.clip(both + rng.normal(0, 0.1, (models, 200)), 0, 1)
        tables = {f"m{i}": table(ndcg(rng, c[user]), user, f"m{i}") for i, c in enumerate(chance)}
        found = compare_family(tables, ["ndcg@10"], test=test, resamples=1000, seed=e)
        wrong += any(c.significant for c in found)
    return wrong / experiments


def seeds_coverage(experiments: int) -> float:
    """Share of 95 % intervals over five seeds and 300 users that hold the true mean."""
    rng, held = np.random.default_rng(3), 0
    for _ in range(experiments):
        user, seed = rng.normal(0, 0.3, (300, 1)), rng.normal(0, 0.015, (1, 5))
        values = 0.5 + user + seed + rng.normal(0, 0.2, (300, 5))
        found = over_seeds([table(v, np.arange(300), "m", s) for s, v in enumerate(values.T)], "ndcg@10")
        held += found.low <= 0.5 <= found.high
    return held / experiments


def main(experiments: int) -> None:
    rows, claims = [], []

    def note(what: str, share: float, low: float, high: float, kind: str | None = None) -> None:
        print(f"{what}: {share:.4f}", flush=True)
        rows.append(row("shopkeeper", f"simulated, {experiments:,} experiments", what, "share", [share]))
        if low > 0:
            claims.append(at_least("evaluation", f"{what}, {experiments:,} experiments", share, low, kind))
        claims.append(at_most("evaluation", f"{what}, {experiments:,} experiments", share, high, kind))

    for method in METHODS:
        for make in (alone, clustered):
            note(
                f"coverage of 95 % {method} intervals, {make.__name__}", coverage(experiments, make, method), 0.93, 0.97
            )
    for test in ("randomisation", "bootstrap"):
        note(f"false positives at 5 %, {test} test", false_positives(experiments, test, 2), 0.03, 0.07)
    note("false positives in a family of 4 models", false_positives(experiments, "randomisation", 4), 0.0, 0.07)
    note("coverage of 95 % intervals over 5 seeds", seeds_coverage(experiments), 0.93, 0.97, "aim")
    write_result("error_rates", rows, claims)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000)
    main(parser.parse_args().experiments)
