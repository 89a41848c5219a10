"""NDCG@10 on shops where people buy again: the baselines, the models for repeats, and the network that knows them.

    python benchmarks/shops.py                # item statistics frozen at the validation cutoff
    python benchmarks/shops.py --refit        # trained anew until the test cutoff, demand until the night before
    python benchmarks/shops.py --explore      # asked for what the customer has not taken yet (dataset.filter_seen=true)
    python benchmarks/shops.py --datasets online_retail --models ease item_knn    # these rows, the others are kept
    python benchmarks/shops.py --reserve      # places of the two-stage lists kept for what is new: the price
    python benchmarks/shops.py --neighbours   # what the network lacks of neighbours, for items not yet in the history

Each row is `python train.py dataset=… model=… evaluation.refit=…` with the settings that are shipped; test is looked at
once, after validation has said which model leads. Models with chance in them are trained with every seed. Values are
means with the bounds of their 95 % intervals by customer (and seed); differences are those of the leading model from
each other one, on everything, on what is new to the customer and on what is not, all of a shop judged as one family,
each request's value being the mean over seeds. Runs are kept in `--runs`; one that is there of the same settings and
code is not trained again. Models that are not asked for stand in the table with their last runs of these settings, and
where those are of other code their rows say so (`measured`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from _results import ROOT, at_least, of_file, row, write_result
from shopkeeper.closure import code_of
from shopkeeper.evaluation.compare import align, compare_family
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.evaluation.seeds import difference_over_seeds, over_seeds
from shopkeeper.evaluation.table import read_table, values_of
from shopkeeper.files import sha256_json
from shopkeeper.pipeline import context
from shopkeeper.pipeline.runs import open_run
from shopkeeper.pipeline.stages.compose import composed
from shopkeeper.pipeline.told import plain
from shopkeeper.reranking.model import Reranked

BASELINES = ("popularity", "recent_popularity", "recency", "personal_frequency", "item_knn", "ease")
NEURAL, FLAGSHIP = "sasrec_history", "two_stage"
MODELS = (
    *BASELINES, "tifu_knn", "item_to_item", "up_cf", "buy_it_again", "ials", "bpr", "slim", "user_knn", "vsknn",
    "vstan", FLAGSHIP, NEURAL,
)  # fmt: skip
RANDOM = ("ials", "bpr", FLAGSHIP, NEURAL)  # trained with every seed
NIGHTLY = {FLAGSHIP: ("model.item_statistics=nightly",)}  # beside --refit
REQUIRED = {("online_retail", False): 0.290, ("online_retail", True): 0.300, ("demo_shop", False): 0.335}


SHOPS = ("online_retail", "demo_shop")  # of others each list of them is a result of its own
SETTINGS = ("dataset", "split", "model", "loss", "trainer", "evaluation")  # that a run follows
JUDGED = ("shopkeeper.evaluation.rows.items", "shopkeeper.training.devices.worker")  # what else its figures come from
KEPT, DEPTH = 0.965, 1000  # .290 of .3005; a list's candidates
COMPARED = ("ndcg@10", "ndcg_explore@10", "ndcg_repeat@10")
WEIGHTS = (0.0, 0.3, 0.6, 1.0, 1.5, 2.0)  # of neighbours' scores
Tables = dict[str, list[pa.Table]]  # by model, one for each seed


def main(
    datasets: list[str],
    models: list[str],
    seeds: list[int],
    refit: bool,
    explore: bool,
    reserve: bool,
    neighbours: bool,
    runs: Path,
) -> None:
    if reserve:
        reserved(datasets, runs)
        return
    if neighbours:
        beside_neighbours(datasets, seeds, runs)
        return
    name = "shops" + ("_refit" if refit else "") + ("_explore" if explore else "")
    name = "_".join([name, *(x for x in datasets if x not in SHOPS)])
    for dataset in datasets:
        rows, tables, validation = [], Tables(), dict[str, float]()
        for model in MODELS:
            every = seeds if model in RANDOM else seeds[:1]
            there = [run_of(runs, dataset, model, refit, explore, seed) for seed in every]
            told = [told_to(dataset, model, refit, explore, seed) for seed in every]
            if model in models:
                found = [trained(dataset, model, refit, explore, runs, seed) for seed in every]
            elif all(is_done(run, one, any_code=True) for run, one in zip(there, told, strict=True)):
                found = [opened(run) for run in there]
            else:
                continue
            metrics, tables[model] = [m for m, _ in found], [table for _, table in found]
            of = of_other_code(there, told)
            rows += [one | of for one in figures(model, dataset, metrics, tables[model])]
            validation[model] = float(np.mean([m["validation"]["ndcg@10"]["value"] for m in metrics]))
            print(f"{dataset} {model}: {rows[-1]['median']:.4f}", flush=True)
        before, said = of_file(name)
        kept = [r for r in before if r["dataset"] != dataset or r["system"] not in tables]
        measured = {r["system"]: r["median"] for r in kept
                    if r["dataset"] == dataset and r["figure"] == "validation ndcg@10"} | validation  # fmt: skip
        if max(measured, key=lambda model: measured[model]) in tables:
            more, claims = differences(dataset, tables, validation, refit, explore)
            kept = [r for r in kept if r["dataset"] != dataset or stays(r["system"], more)]
            said = [c for c in said if not c["what"].startswith(f"{dataset},")]
            rows, said = [*rows, *more], [*said, *claims]
        write_result(name, [*kept, *rows], said)


def of_other_code(runs: list[Path], told: list[list[Any]]) -> dict[str, Any]:
    """Which commit trained the oldest of the runs that are of other code, and when; nothing where there is none."""
    others = [run for run, one in zip(runs, told, strict=True) if not is_done(run, one)]
    older = [json.loads((run / "manifest.json").read_text(encoding="utf-8")) for run in others]
    if not older:
        return {}
    first = min(older, key=lambda one: str(one.get("trained_at")))
    print(f"{runs[0].name}: {len(older)} of {len(runs)} runs are kept from other code, the oldest of {first['commit']}")
    return {"measured": {"commit": first["commit"], "date": first.get("trained_at")}}


def stays(system: str, more: list[dict[str, Any]]) -> bool:
    """Whether a row of before stands beside these differences: one of the same leader, from a model not here."""
    leader = more[0]["system"].partition(" against ")[0]
    return " against " not in system or (system.startswith(f"{leader} ") and all(system != r["system"] for r in more))


def figures(model: str, dataset: str, metrics: Sequence[dict[str, Any]], tables: list[pa.Table]) -> list[dict]:
    """NDCG@10 on validation and on test, with their bounds."""
    said = [metrics[0][part]["ndcg@10"] for part in ("validation", "test")]
    bounds = [{k: one[k] for k in ("low", "high", "n")} for one in said]
    if len(tables) > 1:
        over = over_seeds(tables, "ndcg@10")
        bounds = [{"n": said[0]["n"]}, {"low": over.low, "high": over.high, "n": said[1]["n"]}]
    return [row(model, dataset, f"{part} ndcg@10", "", [m[part]["ndcg@10"]["value"] for m in metrics]) | bound
            for part, bound in zip(("validation", "test"), bounds, strict=True)]  # fmt: skip


def mean_over_seeds(tables: list[pa.Table], metrics: Sequence[str]) -> pa.Table:
    """The first seed's table with each request's mean over all seeds."""
    every = list(align({str(n): table for n, table in enumerate(tables)}).values())
    first = every[0]
    for metric in metrics:
        mean = np.mean([values_of(table, metric) for table in every], axis=0)
        first = first.set_column(first.column_names.index(metric), metric, pa.array(mean, from_pandas=True))
    return first


def differences(
    dataset: str, tables: Tables, validation: dict[str, float], refit: bool, explore: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The model that leads on validation against all others: differences and what is asked of them."""
    kept = "refitted until the test cutoff, demand until the night before" if refit else "statistics frozen"
    kept += ", among items that the customer has not taken yet" if explore else ""
    best = max(validation, key=lambda model: validation[model])  # before test is looked at
    wanted, new = (COMPARED[:1], "ndcg@10") if explore else (COMPARED, "ndcg_explore@10")
    asked = [name for name in wanted if name in tables[best][0].column_names]
    means = {model: mean_over_seeds(of, asked) for model, of in tables.items()}
    rows, claims = [], []
    value = float(values_of(means[best], "ndcg@10").mean())
    if (dataset, refit) in REQUIRED and not explore:
        what = f"{dataset}, NDCG@10 on test of the model that leads on validation ({best}), {kept}"
        claims.append(at_least("shops", what, value, REQUIRED[dataset, refit]))
    others = [model for model in means if model != best]
    found = compare_family(means, asked, pairs=[(other, best) for other in others])
    for one in found:
        rows.append(row(f"{best} against {one.a}", dataset, f"difference of {one.metric} on test", "", [one.difference])
                    | {"low": one.low, "high": one.high, "p_adjusted": one.p_adjusted})  # fmt: skip
    if dataset in SHOPS:
        half = [one.low for one in found if one.metric == new and one.a in BASELINES]
        of = "NDCG@10" if explore else "what new items give to NDCG@10"
        what = f"{dataset}, lowest bound of {best}'s gain over any baseline in {of}, {kept}"
        claims.append(at_least("shops", what, min(half), 0.0, None if dataset == "online_retail" else "aim"))
    else:
        what = f"{dataset}, shipped settings: upper bound of {best} (leads on validation) minus the best other one"
        worst = min(one.high for one in found if one.metric == asked[0])
        claims.append(at_least("shops", f"{what} in NDCG@10", worst, 0.0))
    if {NEURAL, FLAGSHIP} <= set(tables) and not explore:
        apart = difference_over_seeds(tables[FLAGSHIP], tables[NEURAL], "ndcg@10")
        rows.append(row(f"{NEURAL} against {FLAGSHIP}", dataset, "difference of ndcg@10 on test, over seeds", "",
                        apart.per_seed or [apart.mean]) | {"low": apart.low, "high": apart.high})  # fmt: skip
        what = f"{dataset}, {NEURAL} minus {FLAGSHIP} in NDCG@10 over seeds, {kept}"
        claims.append(at_least("shops", f"{what}: upper bound (not significantly worse)", apart.high, 0.0))
        claims.append(at_least("shops", f"{what}: lower bound (better)", apart.low, 0.0, "aim"))
    return rows, claims


def reserved(datasets: list[str], runs: Path) -> None:
    """What places for new items cost the two-stage model: validation of every number, test of the two that it chooses.

    These are the most places that keep `KEPT` of NDCG@10 on validation, and the fewest whose explore half beats every
    baseline's there.
    """
    rows: list[dict[str, Any]] = []
    claims: list[dict[str, Any]] = []
    for dataset in datasets:
        trained(dataset, "two_stage", False, False, runs)
        run = open_run(run_of(runs, dataset, "two_stage", False, False))
        split = context.split_of(context.prepared_of(run.manifest), run.manifest)
        model, seen = run.model(), bool(run.metrics["filter_seen"])

        said_of = run.table("test").schema.metadata

        def asked(least: int, part: str) -> pa.Table:
            steps = [{"explore": {"least": least}}] if least else []
            table = evaluate_requests(Reranked(model, steps, split, seen, DEPTH), split, part)  # noqa: B023
            return table.replace_schema_metadata(said_of)  # noqa: B023

        means: dict[int, list[float]] = {}
        for least in range(11):
            found = asked(least, "validation")
            means[least] = [float(values_of(found, name).mean()) for name in COMPARED[:2]]
            rows += [row(f"two_stage, {least} places kept", dataset, f"validation {name}", "", [value])
                     for name, value in zip(COMPARED, means[least], strict=False)]  # fmt: skip
        tables, half = {}, 0.0
        for name in BASELINES:
            metrics, tables[name] = trained(dataset, name, False, False, runs)
            half = max(half, metrics["validation"]["ndcg_explore@10"]["value"])
        cheap = max(n for n, (whole, _) in means.items() if whole >= KEPT * means[0][0])
        enough = min((n for n, (_, new) in means.items() if new > half), default=10)
        for what, least in (("the most that keep NDCG", cheap), ("the fewest that beat baselines", enough)):
            name = f"two_stage, {least} places kept"
            tables[name] = asked(least, "test")
            compared = compare_family(tables, ("ndcg_explore@10",), pairs=[(b, name) for b in BASELINES])
            low, whole = min(one.low for one in compared), float(values_of(tables[name], "ndcg@10").mean())
            rows += [row(name, dataset, f"test {m}", "", [float(values_of(tables[name], m).mean())])
                     for m in COMPARED]  # fmt: skip
            rows += [row(f"{name} against {one.a}", dataset, "difference of ndcg_explore@10 on test", "",
                         [one.difference]) | {"low": one.low, "high": one.high, "p_adjusted": one.p_adjusted}
                     for one in compared]  # fmt: skip
            said = f"{dataset}, {least} places kept for new items ({what} on validation)"
            needed = REQUIRED[dataset, False]
            claims.append(at_least("shops", f"{said}: NDCG@10 on test", whole, needed, "aim"))
            gain = f"{said}: lowest bound of the gain of the explore half over any baseline"
            claims.append(at_least("shops", gain, low, 0.0, "aim"))
            print(said, f"{whole:.4f}", f"{low:.4f}", flush=True)
    write_result("shops_reserve", rows, claims)


def beside_neighbours(datasets: list[str], seeds: list[int], runs: Path) -> None:
    """What the network would gain by item-kNN's scores: validation of every weight, test of the best one.

    To the network's logit of an item that the history does not hold, w log(s / m + 1/100) is added, s the neighbours'
    score and m the median over requests of the largest one; own items keep theirs. A weight of 0 is the network alone.
    """
    rows: list[dict[str, Any]] = []
    for dataset in datasets:
        tables: dict[str, list[pa.Table]] = {FLAGSHIP: [], NEURAL: []}
        nets = []
        for seed in seeds:
            for model in (FLAGSHIP, NEURAL):
                tables[model].append(trained(dataset, model, False, False, runs, seed)[1])
            nets.append(open_run(run_of(runs, dataset, NEURAL, False, False, seed)))
        split = context.split_of(context.prepared_of(nets[0].manifest), nets[0].manifest)
        seen, values = bool(nets[0].metrics["filter_seen"]), dict[float, float]()
        models = [(run.model(), run.table("test").schema.metadata) for run in nets]
        trained(dataset, "item_knn", False, False, runs)
        near = open_run(run_of(runs, dataset, "item_knn", False, False)).model()
        scale = median_of_best(near, split.part("validation")[0])

        def asked(weight: float, part: str) -> list[pa.Table]:
            return [evaluate_requests(Beside(net, near, weight, scale), split, part, filter_seen=seen)  # noqa: B023
                    .replace_schema_metadata(said) for net, said in models]  # fmt: skip  # noqa: B023

        for weight in WEIGHTS:
            each = [float(values_of(table, "ndcg@10").mean()) for table in asked(weight, "validation")]
            values[weight] = float(np.mean(each))
            rows.append(row(f"{NEURAL}, {weight:g} of item_knn", dataset, "validation ndcg@10", "", each))
        weight = max(values, key=lambda one: values[one])  # before test is looked at
        system = f"{NEURAL}, {weight:g} of item_knn"
        if not weight:
            continue
        tables[system] = asked(weight, "test")
        rows.append(row(system, dataset, "test ndcg@10", "",
                        [float(values_of(table, "ndcg@10").mean()) for table in tables[system]]))  # fmt: skip
        for other in (FLAGSHIP, NEURAL):
            apart = difference_over_seeds(tables[other], tables[system], "ndcg@10")
            rows.append(row(f"{system} against {other}", dataset, "difference of ndcg@10 on test, over seeds", "",
                            apart.per_seed or [apart.mean]) | {"low": apart.low, "high": apart.high})  # fmt: skip
            print(rows[-1], flush=True)
    write_result("shops_neighbours", rows, [])


def median_of_best(model: Any, requests: Any) -> float:
    """The median over requests of the largest score that a neighbour model gives an item not in the history."""
    reached = unseen(requests, model.reached(requests).toarray())
    return float(np.median(reached.max(1))) or 1.0


def unseen(requests: Any, score_BV: np.ndarray) -> np.ndarray:
    """Scores with 0 for the items of each history."""
    offsets, rows = requests.flat(None)
    item = requests.events.item[rows]
    who = np.repeat(np.arange(len(requests)), np.diff(offsets))
    score_BV[who, item] = 0
    return np.maximum(score_BV, 0)


class Beside:
    """A network's scores, and beside them those of neighbours for items that the history does not hold."""

    def __init__(self, network: Any, near: Any, weight: float, scale: float):
        self.network, self.near, self.weight, self.scale = network, near, weight, scale
        self.about = network.about

    def score(self, requests: Any) -> np.ndarray:
        """Scores float32 (B, V)."""
        score_BV: np.ndarray = self.network.score(requests)
        if not self.weight:
            return score_BV
        added_BV = self.weight * np.log(unseen(requests, self.near.reached(requests).toarray()) / self.scale + 0.01)
        added_BV[unseen(requests, np.ones_like(added_BV)) == 0] = 0  # own items
        return score_BV + added_BV


def trained(
    dataset: str, model: str, refit: bool, explore: bool, runs: Path, seed: int = 1
) -> tuple[dict[str, Any], pa.Table]:
    """The figures and the table on test of one training with the settings that are shipped; what is there is taken."""
    run, told = run_of(runs, dataset, model, refit, explore, seed), told_to(dataset, model, refit, explore, seed)
    if not is_done(run, told):
        command = [sys.executable, "train.py", *told[0], f"hydra.run.dir={run}", "overwrite=true"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        told_of(run).write_text(json.dumps(told), encoding="utf-8")
    return opened(run)


def opened(run: Path) -> tuple[dict[str, Any], pa.Table]:
    return json.loads((run / "metrics.json").read_text(encoding="utf-8")), read_table(run / "test.parquet")


def told_to(dataset: str, model: str, refit: bool, explore: bool, seed: int) -> list[Any]:
    """What `train.py` is told, a hash of the settings that this makes, and one of the code that follows them."""
    words = [f"dataset={dataset}", f"model={model}", f"evaluation.refit={str(refit).lower()}", f"seed={seed}"]
    words += [*(NIGHTLY.get(model, ()) if refit else ()), "tracking=none", "progress=false"]
    words += ["dataset.filter_seen=true"] if explore else []
    settings = plain(composed("train", words))
    recipe = {name: settings.get(name) for name in SETTINGS}
    modules = {target.rpartition(".")[0] for target in targets_of(settings["model"])}
    return [words, sha256_json(recipe)[:16], sha256_json(code_of(*sorted(modules), *JUDGED))[:16]]


def targets_of(settings: Any) -> list[str]:
    """The classes that a model is made of, its candidates' too."""
    if not isinstance(settings, dict):
        return []
    own = [settings["target"]] if isinstance(settings.get("target"), str) else []
    return [*own, *(target for value in settings.values() for target in targets_of(value))]


def is_done(run: Path, told: list[Any], any_code: bool = False) -> bool:
    """Whether a run of this is there; `any_code`: also one of other code."""
    if not ((run / "manifest.json").is_file() and told_of(run).is_file()):
        return False
    there = json.loads(told_of(run).read_text(encoding="utf-8"))
    return bool(there[:2] == told[:2] if any_code else there == told)


def told_of(run: Path) -> Path:
    return run.with_name(f"{run.name}.json")


def run_of(runs: Path, dataset: str, model: str, refit: bool, explore: bool, seed: int = 1) -> Path:
    """The run folder of a training among others."""
    how = [*(["refit"] if refit else []), *(["explore"] if explore else []), *([str(seed)] if seed != 1 else [])]
    return runs / "-".join([dataset, model, *how])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=list(SHOPS))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5], help=f"of {', '.join(RANDOM)}")
    parser.add_argument("--refit", action="store_true")
    parser.add_argument("--explore", action="store_true")
    parser.add_argument("--reserve", action="store_true")
    parser.add_argument("--neighbours", action="store_true")
    parser.add_argument("--runs", type=Path, default=ROOT / "data" / "bench" / "shops", help="keeps the runs")
    given = parser.parse_args()
    if len(given.models) < 2:
        parser.error("--models: two or more, one is compared with the others")
    main(**vars(given))
