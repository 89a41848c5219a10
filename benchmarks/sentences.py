"""How often do the sentences about models and slices say what is not so, and how much do they find?

    python benchmarks/sentences.py

One experiment is one family: all pairs of 3, 15 or 40 models, or the winner's deficits in 12 or 110 slices, on 500
customers (few: 12 and 50). A family is false when any of its sentences is: "better" said of equals, or an interval
without the truth. Found: of the true differences that each test alone (unadjusted) finds, how many the family finds,
where the difference is twice the smallest that 500 customers show four times in five, 2 (1.96 + 0.84) standard errors.
For comparison, the winner against the others with Holm's correction, which forgets that the winner was chosen. The
parts have between .3 and twice as many experiments as asked for, as their names in the result say.

Values are NDCG@10 with many zeros; `skewed` ones are log-normal. A file per part lies beside the result until all are
there, so that the parts can be run one by one: `--only models-3 …`.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pyarrow as pa

from _results import RESULTS, at_least, at_most, row, write_result
from shopkeeper.evaluation.compare import Comparison, compare_family
from shopkeeper.evaluation.slices import slice_results

GAIN = 1 / np.log2(np.arange(2, 12))
FACTS = json.dumps({"dataset": "simulated", "target_hash": "none"})
CUSTOMERS = 500
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


def models(
    experiments: int, n_models: int, n: int = CUSTOMERS, make: Callable = ndcg, half: int = 0
) -> dict[str, float]:
    """Equal models; models of which one leads and the others are equal; what is found of that lead."""
    rng, error = np.random.default_rng([n_models, n, half][: 2 + half]), standard_error(make, n)
    equal = holm = uncovered = alone = together = 0
    lead = np.zeros(n_models)
    lead[-1] = min(EFFECT * error, MOST) if make is ndcg else EFFECT * error
    for e in range(experiments):
        values = make(rng, n, np.zeros(n_models))
        equal += any(" is better than " in c.statement for c in family(values, e))
        holm += holm_of_the_winner(values)
        found = family(make(rng, n, lead), e)
        uncovered += any(not covered(c, lead) for c in found)
        true = [c for c in found if f"m{n_models - 1}" in (c.a, c.b) and c.p_value <= 0.05]
        alone += len(true)
        together += sum(c.significant for c in true)
    return {
        "false": equal / experiments,
        "winner_holm": holm / experiments,
        "uncovered": uncovered / experiments,
        "found": together / max(alone, 1),
    }


def halves(experiments: int, n_models: int) -> dict[str, float]:
    """`models` in two halves, which can be run side by side."""
    both = [models(experiments // 2, n_models, half=half) for half in (0, 1)]
    return {name: (both[0][name] + both[1][name]) / 2 for name in both[0]}


def covered(c: Comparison, lead: np.ndarray) -> bool:
    """Whether the sentence says what is so: the bounds that it prints hold the truth, and the better one is better."""
    truth = lead[int(c.b[1:])] - lead[int(c.a[1:])]
    bounds = re.search(r"\((\S+) to (\S+)\)", c.statement)
    assert bounds is not None, c.statement
    if c.winner is not None:
        truth = abs(truth) if (c.winner == c.b) == (truth > 0) and truth else -abs(truth)
    rounding = 0.5 * 10.0 ** -len(bounds[1].partition(".")[2])
    return float(bounds[1]) - rounding <= truth <= float(bounds[2]) + rounding and not (c.winner and truth <= 0)


def slices(experiments: int, n_slices: int, n_models: int = 4) -> dict[str, float]:
    """The winner among equals in every slice; and a slice in which another is better by a known lead."""
    rng = np.random.default_rng(n_slices)
    error = standard_error(ndcg, 125)  # a slice holds a quarter of the customers
    wrong = alone = together = 0
    for e in range(experiments):
        kinds = {f"slice:s{j}": rng.choice(list("abcd"), CUSTOMERS).tolist() for j in range(-(-n_slices // 4))}
        values = ndcg(rng, CUSTOMERS, np.zeros(n_models))
        wrong += bool(deficits(values, kinds, e)["losses"])
        hole = np.array(kinds["slice:s0"]) == "a"
        values = ndcg(rng, CUSTOMERS, np.zeros(n_models))
        values[hole] = ndcg(rng, int(hole.sum()), EFFECT * error * (np.arange(n_models) == 1))
        found = deficits(values, kinds, e, winner="m0")["losses"]
        d = values[hole, 1] - values[hole, 0]
        if d.mean() / (d.std(ddof=1) / np.sqrt(len(d))) > 1.96:
            alone += 1
            together += any((x["slice"], x["value"], x["to"]) == ("s0", "a", "m1") for x in found)
    return {"false": wrong / experiments, "found": together / max(alone, 1)}


def deficits(values: np.ndarray, kinds: dict[str, list[str]], seed: int, winner: str | None = None):
    """`slice_results`, of slices that are all large enough to be tested; the intervals of means are not looked at."""
    tables = {f"m{j}": table(v, **kinds) for j, v in enumerate(values.T)}
    return slice_results(tables, "ndcg@10", winner=winner, small=50, resamples=2, seed=seed)


PARTS: dict[str, tuple[float, Callable[[int], dict[str, float]]]] = {  # share of the experiments, what to do
    "models-3": (2, lambda n: models(n, 3)),
    "models-15": (1, lambda n: models(n, 15)),
    "models-40": (1, lambda n: halves(n, 40)),
    "models-15-skewed": (0.5, lambda n: models(n, 15, make=skewed)),
    "models-3-on-12-customers": (2, lambda n: models(n, 3, 12)),
    "models-15-on-50-customers": (0.5, lambda n: models(n, 15, 50)),
    "slices-12": (1, lambda n: slices(n, 12)),
    "slices-110": (0.3, lambda n: slices(n, 110)),
}


def main(experiments: int, only: list[str]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    paths = {name: RESULTS / f"sentences-{name}.part" for name in PARTS}
    for name in only or PARTS:
        share, run = PARTS[name]
        times = round(share * experiments)
        if paths[name].exists() and json.loads(paths[name].read_text(encoding="utf-8"))["experiments"] == times:
            continue
        found = run(times)
        print(name, found, flush=True)
        paths[name].write_text(json.dumps({"experiments": times, **found}), encoding="utf-8")
    rows, claims = [], []
    if not all(path.exists() for path in paths.values()):
        return
    for name, path in paths.items():
        found = json.loads(path.read_text(encoding="utf-8"))
        times = f"{found.pop('experiments'):,} experiments"
        for figure, share in found.items():
            rows.append(row("shopkeeper" if figure != "winner_holm" else "winner, Holm", f"{name}, {times}", figure,
                            "share", [share]))  # fmt: skip
        few = "customers" in name
        claims.append(at_most("trust", f"families with a false sentence, {name}, {times}", found["false"], 0.05))
        if "uncovered" in found:
            what = f"families with an interval without the truth or a false sentence, one leads, {name}, {times}"
            claims.append(at_most("trust", what, found["uncovered"], 0.05, "aim" if few or "skewed" in name else None))
        what = f"found of the true differences of twice the smallest effect, {name}, {times}"
        if not few:  # twelve customers do not follow the normal law by which the effect is chosen
            claims.append(at_least("trust", what, found["found"], 0.8))
    note = "a share of .05 has a standard error of .005 with 2,000 experiments, .007 with 1,000, .010 with 500"
    write_result("sentences", rows, claims, note=note)
    for path in paths.values():
        path.unlink()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--only", nargs="*", default=[], choices=list(PARTS))
    arguments = parser.parse_args()
    main(arguments.experiments, arguments.only)
