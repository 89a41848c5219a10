"""NDCG@10 on shops where people buy again: the baselines and the models for repeats, one training each.

    python benchmarks/shops.py                # item statistics frozen at the validation cutoff
    python benchmarks/shops.py --refit        # trained anew until the test cutoff, demand until the night before
    python benchmarks/shops.py --explore      # asked for what the customer has not taken yet (dataset.filter_seen=true)
    python benchmarks/shops.py --reserve      # places of the two-stage lists kept for that: the price

Each row is `python train.py dataset=… model=… evaluation.refit=…` with the settings that are shipped; test is looked at
once, after validation has said which model leads. Values are means with the bounds of their 95 % intervals by customer;
differences are those of the leading model from each other one, on everything, on what is new to the customer and on
what is not, all of a shop judged as one family.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa

from _results import ROOT, at_least, row, write_result
from shopkeeper.evaluation.compare import compare_family
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.evaluation.table import read_table, values_of
from shopkeeper.pipeline import context
from shopkeeper.pipeline.runs import open_run
from shopkeeper.reranking.model import Reranked

MODELS = (
    "popularity", "recent_popularity", "recency", "personal_frequency", "item_knn", "ease", "tifu_knn", "item_to_item",
    "up_cf", "buy_it_again", "ials", "bpr", "slim", "user_knn", "vsknn", "vstan", "two_stage",
)  # fmt: skip
NIGHTLY = {"two_stage": ("model.item_statistics=nightly",)}  # beside --refit
REQUIRED = {("online_retail", False): 0.290, ("online_retail", True): 0.300, ("demo_shop", False): 0.335}


SHOPS = ("online_retail", "demo_shop")  # of others each list of them is a result of its own
BASELINES = ("popularity", "recent_popularity", "recency", "personal_frequency", "item_knn", "ease")
KEPT, DEPTH = 0.965, 1000  # .290 of .3005; a list's candidates
COMPARED = ("ndcg@10", "ndcg_explore@10", "ndcg_repeat@10")


def main(datasets: list[str], refit: bool, explore: bool, reserve: bool, runs: Path | None) -> None:
    if reserve:
        reserved(datasets, runs)
        return
    rows: list[dict[str, Any]] = []
    claims: list[dict[str, Any]] = []
    kept = "refitted until the test cutoff, demand until the night before" if refit else "statistics frozen"
    kept += ", among items that the customer has not taken yet" if explore else ""
    for dataset in datasets:
        validation: dict[str, float] = {}
        tables: dict[str, pa.Table] = {}
        for model in MODELS:
            metrics, tables[model] = trained(dataset, model, refit, explore, runs)
            for part in ("validation", "test"):
                found = metrics[part]["ndcg@10"]
                rows.append(row(model, dataset, f"{part} ndcg@10", "", [found["value"]])
                            | {"low": found["low"], "high": found["high"], "n": found["n"]})  # fmt: skip
            validation[model] = metrics["validation"]["ndcg@10"]["value"]
            print(f"{dataset} {model}: {metrics['test']['ndcg@10']['value']:.4f}", flush=True)
        best = max(validation, key=lambda model: validation[model])  # before test is looked at
        value = values_of(tables[best], "ndcg@10").mean()
        if (dataset, refit) in REQUIRED and not explore:
            what = f"{dataset}, NDCG@10 on test of the model that leads on validation ({best}), {kept}"
            claims.append(at_least("shops", what, float(value), REQUIRED[dataset, refit]))
        others = [model for model in MODELS if model != best]
        wanted, new = (COMPARED[:1], "ndcg@10") if explore else (COMPARED, "ndcg_explore@10")
        asked = [name for name in wanted if name in tables[best].column_names]
        compared = compare_family(tables, asked, pairs=[(other, best) for other in others])
        for one in compared:
            rows.append(row(f"{best} against {one.a}", dataset, f"difference of {one.metric} on test", "",
                            [one.difference])
                        | {"low": one.low, "high": one.high, "p_adjusted": one.p_adjusted})  # fmt: skip
        if dataset in SHOPS:
            half = [one.low for one in compared if one.metric == new and one.a in BASELINES]
            of = "NDCG@10" if explore else "what new items give to NDCG@10"
            what = f"{dataset}, lowest bound of {best}'s gain over any baseline in {of}, {kept}"
            claims.append(at_least("shops", what, min(half), 0.0, None if dataset == "online_retail" else "aim"))
        else:
            what = f"{dataset}, shipped settings: upper bound of {best} (leads on validation) minus the best other one"
            worst = min(one.high for one in compared if one.metric == asked[0])
            claims.append(at_least("shops", f"{what} in NDCG@10", worst, 0.0))
    name = "shops" + ("_refit" if refit else "") + ("_explore" if explore else "")
    write_result("_".join([name, *(x for x in datasets if x not in SHOPS)]), rows, claims)


def reserved(datasets: list[str], runs: Path | None) -> None:
    """What places for new items cost the two-stage model: validation of every number, test of the two that it chooses.

    These are the most places that keep `KEPT` of NDCG@10 on validation, and the fewest whose explore half beats every
    baseline's there.
    """
    rows: list[dict[str, Any]] = []
    claims: list[dict[str, Any]] = []
    for dataset in datasets:
        with tempfile.TemporaryDirectory() as place:
            kept = runs or Path(place)
            trained(dataset, "two_stage", False, False, kept)
            opened = open_run(run_of(kept, dataset, "two_stage", False, False))
            split = context.split_of(context.prepared_of(opened.manifest), opened.manifest)
            model, seen = opened.model(), bool(opened.metrics["filter_seen"])

            said_of = opened.table("test").schema.metadata

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
                metrics, tables[name] = trained(dataset, name, False, False, kept)
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


def trained(dataset: str, model: str, refit: bool, explore: bool, runs: Path | None) -> tuple[dict[str, Any], pa.Table]:
    """The figures and the table on test of one training with the settings that are shipped.

    `runs`: a folder that keeps run folders; what is there is not trained again.
    """
    words = [f"dataset={dataset}", f"model={model}", f"evaluation.refit={str(refit).lower()}", "tracking=none"]
    words += NIGHTLY.get(model, ()) if refit else ()
    words += ["dataset.filter_seen=true"] if explore else []
    with tempfile.TemporaryDirectory() as place:
        run = run_of(Path(place) if runs is None else runs, dataset, model, refit, explore)
        if not (run / "manifest.json").is_file():
            command = [sys.executable, "train.py", *words, f"hydra.run.dir={run}"]
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return json.loads((run / "metrics.json").read_text(encoding="utf-8")), read_table(run / "test.parquet")


def run_of(runs: Path, dataset: str, model: str, refit: bool, explore: bool) -> Path:
    """The run folder of a training among others."""
    return runs / "-".join([dataset, model, *(["refit"] if refit else []), *(["explore"] if explore else [])])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=list(SHOPS))
    parser.add_argument("--refit", action="store_true")
    parser.add_argument("--explore", action="store_true")
    parser.add_argument("--reserve", action="store_true")
    parser.add_argument("--runs", type=Path, help="keeps the runs; those that are there are not trained again")
    main(**vars(parser.parse_args()))
