"""How often do the sentences about models and slices say what is not so, and how much do they find?

    python benchmarks/sentences.py

One experiment is one family: all pairs of 3, 15 or 40 models, or the winner's deficits in 12 or 110 slices, on 500
customers (few: 12 and 50). A family is false when any of its sentences is: "better" said of equals, or an interval
without the truth. Found: of the true differences that each test alone (unadjusted) finds, how many the family finds,
where the difference is twice the smallest that 500 customers show four times in five, 2 (1.96 + 0.84) standard errors.
For comparison, the winner against the others with Holm's correction, which forgets that the winner was chosen.

Values are NDCG@10 with many zeros; `skewed` ones are log-normal. The experiments of a part are drawn in portions, each
with a seed of its own, so that `--jobs` changes nothing but the time: about 20 minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from itertools import repeat
from multiprocessing import get_context
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa

from _results import at_least, at_most, row, write_result
from shopkeeper.evaluation.compare import Comparison, compare_family
from shopkeeper.evaluation.slices import slice_results

GAIN = 1 / np.log2(np.arange(2, 12))
FACTS = json.dumps({"dataset": "simulated", "target_hash": "none"})
CUSTOMERS = 500
PORTION = 25  # experiments that are drawn from one seed
MOST = 0.24  # the largest lead that keeps every chance below 1
EFFECT = 2 * (NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8))  # in standard errors


def ndcg(rng: np.random.Generator, n: int, lead: np.ndarray) -> np.ndarray:
    """(n, M): the target is among the first ten with the customer's chance, plus the model's lead in NDCG@10."""
    chance = np.clip(rng.beta(2, 6, (n, 1)) + rng.normal(0, 0.05, (n, len(lead))), 0.05, 0.45) + lead / GAIN.mean()
    return np.where(rng.random(chance.shape) < chance, GAIN[rng.integers(0, 10, chance.shape)], 0.0)


def skewed(rng: np.random.Generator, n: int, lead: np.ndarray) -> np.ndarray:
    """(n, M): log-normal, as sums of money are."""
    return rng.lognormal(0, 1.2, (n, 1)) + rng.lognormal(0, 1.2, (n, len(lead))) + lead


def table(values: np.ndarray, **columns: list[str]) -> pa.Table:
    n = np.arange(len(values))
    return pa.table({"request": n, "user": n + 1, "ndcg@10": values, **columns}).replace_schema_metadata(
        {"shopkeeper": FACTS}
    )


def family(values: np.ndarray, seed: int) -> list[Comparison]:
    tables = {f"m{j}": table(v) for j, v in enumerate(values.T)}
    return compare_family(tables, ["ndcg@10"], seed=seed)


@cache
def standard_error(make: Callable, n: int) -> float:
    """Of a difference between two equal models on n customers."""
    values = make(np.random.default_rng(99), 200_000, np.zeros(2))
    return float((values[:, 1] - values[:, 0]).std() / np.sqrt(n))


def holm_of_the_winner(values: np.ndarray) -> bool:
    """Whether Holm's first step among the winner's comparisons finds anything."""
    from scipy.special import stdtr

    best = int(values.mean(0).argmax())
    d = values[:, [best]] - np.delete(values, best, axis=1)
    t = d.mean(0) / (d.std(0, ddof=1) / np.sqrt(len(d)))
    return bool(2 * stdtr(len(d) - 1, -np.abs(t)).min() * d.shape[1] <= 0.05)


def models(rng: np.random.Generator, n_models: int, n: int = CUSTOMERS, make: Callable = ndcg) -> dict[str, int]:
    """Equal models; models of which one leads and the others are equal; what is found of that lead."""
    seed, error = int(rng.integers(2**31)), standard_error(make, n)
    values, lead = make(rng, n, np.zeros(n_models)), np.zeros(n_models)
    lead[-1] = min(EFFECT * error, MOST) if make is ndcg else EFFECT * error
    equal, found = family(values, seed), family(make(rng, n, lead), seed)
    true = [c for c in found if f"m{n_models - 1}" in (c.a, c.b) and c.p_value <= 0.05]
    return {
        "false": any(" is better than " in c.statement for c in equal),
        "winner_holm": holm_of_the_winner(values),
        "uncovered": any(not covered(c, lead) for c in found),
        "alone": len(true),
        "found": sum(c.significant for c in true),
    }


def covered(c: Comparison, lead: np.ndarray) -> bool:
    """Whether the sentence says what is so: the bounds that it prints hold the truth, and the better one is better."""
    if not c.n_differing:
        return True  # "have the same … for all 12 users": nothing is said of others
    truth = lead[int(c.b[1:])] - lead[int(c.a[1:])]
    bounds = re.search(r"\((\S+) to (\S+)\)", c.statement)
    assert bounds is not None, c.statement
    if c.winner is not None:
        truth = abs(truth) if (c.winner == c.b) == (truth > 0) and truth else -abs(truth)
    rounding = 0.5 * 10.0 ** -len(bounds[1].partition(".")[2])
    return float(bounds[1]) - rounding <= truth <= float(bounds[2]) + rounding and not (c.winner and truth <= 0)


def slices(rng: np.random.Generator, n_slices: int, n_models: int = 4) -> dict[str, int]:
    """The winner among equals in every slice; and a slice in which another is better by a known lead."""
    seed, error = int(rng.integers(2**31)), standard_error(ndcg, CUSTOMERS // 4)  # a slice holds a quarter
    kinds = {f"slice:s{j}": rng.choice(list("abcd"), CUSTOMERS).tolist() for j in range(-(-n_slices // 4))}
    values = ndcg(rng, CUSTOMERS, np.zeros(n_models))
    wrong = bool(deficits(values, kinds, seed)["losses"])
    hole = np.array(kinds["slice:s0"]) == "a"
    values = ndcg(rng, CUSTOMERS, np.zeros(n_models))
    values[hole] = ndcg(rng, int(hole.sum()), EFFECT * error * (np.arange(n_models) == 1))
    losses = deficits(values, kinds, seed, winner="m0")["losses"]
    d = values[hole, 1] - values[hole, 0]
    alone = bool(d.mean() / (d.std(ddof=1) / np.sqrt(len(d))) > 1.96)
    told = any((x["slice"], x["value"], x["to"]) == ("s0", "a", "m1") for x in losses)
    return {"false": wrong, "alone": alone, "found": alone and told}


def deficits(values: np.ndarray, kinds: dict[str, list[str]], seed: int, winner: str | None = None) -> Any:
    """`slice_results`, of slices that are all large enough to be tested; the intervals of means are not looked at."""
    tables = {f"m{j}": table(v, **kinds) for j, v in enumerate(values.T)}
    return slice_results(tables, "ndcg@10", winner=winner, small=50, resamples=2, seed=seed)


PARTS: dict[str, tuple[float, Callable[[np.random.Generator], dict[str, int]]]] = {  # share of the experiments, one
    "models-3": (2, partial(models, n_models=3)),
    "models-15": (2, partial(models, n_models=15)),
    "models-40": (1, partial(models, n_models=40)),
    "models-15-skewed": (2, partial(models, n_models=15, make=skewed)),
    "models-3-on-12-customers": (1, partial(models, n_models=3, n=12)),
    "models-15-on-50-customers": (0.5, partial(models, n_models=15, n=50)),
    "slices-12": (0.25, partial(slices, n_slices=12)),
    "slices-110": (0.075, partial(slices, n_slices=110)),
}


def portion(name: str, first: int, n: int) -> dict[str, int]:
    """Sums over n experiments of a part, of which the `first` is the portion's seed."""
    rng, experiment = np.random.default_rng([list(PARTS).index(name), first]), PARTS[name][1]
    return added(experiment(rng) for _ in range(n))


def added(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """The sum of each count."""
    first, *others = counts
    return {name: sum((c[name] for c in others), first[name]) for name in first}


def main(experiments: int, jobs: int) -> None:
    rows, claims = [], []
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for name, (share, _) in PARTS.items():
            n = max(1, round(share * experiments))
            first = range(0, n, PORTION)
            counts = added(pool.map(portion, repeat(name), first, (min(PORTION, n - f) for f in first)))
            of = {"found": max(counts.pop("alone"), 1)}
            shares = {figure: count / of.get(figure, n) for figure, count in counts.items()}
            what = f"{name}, {n:,} experiments"
            print(what, shares, flush=True)
            for figure, share in shares.items():
                system = "winner, Holm" if figure == "winner_holm" else "shopkeeper"
                rows.append(row(system, what, figure, "share", [share]))
            claims += claims_of(name, what, shares)
    note = "a share of .05 has a standard error of .0034 with 4,000 experiments, .005 with 2,000, .007 with 1,000"
    write_result("sentences", rows, claims, note=note)


def claims_of(name: str, what: str, shares: dict[str, float]) -> list[dict[str, Any]]:
    """What is required of a part."""
    few = "customers" in name
    claims = [at_most("trust", f"families with a false sentence, {what}", shares["false"], 0.05)]
    if "uncovered" in shares:
        wrong = f"families with an interval without the truth or a false sentence, one leads, {what}"
        kind = "aim" if few or "skewed" in name else None
        claims.append(at_most("trust", wrong, shares["uncovered"], 0.05, kind))
    if not few:  # twelve customers do not follow the normal law by which the effect is chosen
        found = f"found of the true differences of twice the smallest effect, {what}"
        claims.append(at_least("trust", found, shares["found"], 0.8))
    return claims


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    arguments = parser.parse_args()
    main(arguments.experiments, arguments.jobs)
