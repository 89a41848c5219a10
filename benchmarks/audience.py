"""How long an audience takes, and its reasons beside the explainer of the package `shap`.

    python benchmarks/audience.py --note "…"          # everything; 15 minutes on two cores
    python benchmarks/audience.py --only reasons      # some of: reasons, audience
    python benchmarks/audience.py --million           # an audience of 1,000,000 customers x 200,000 items

The shop is that of `shop_speed.py`, 100,000 customers x 50,000 items, but its customers order at rates of their own
and two of three stop in the year. `reasons`: what each feature adds to the score of every customer, from the same
trees (of conf/model/lightgbm.yaml) and the same rows as the package's `TreeExplainer`, one thread each; both must say
the same. That explainer hands boosters of LightGBM to LightGBM itself. `audience`: the verb from its start to its
last file, with scores, reasons, segments and ten items for everybody, on two cores. Models are trained before the
clock starts. The peer lives in .venv-shap, made when it is missing. `--million` is a result of its own,
`audience_million.json`; its split asks two days, not two times 28, since nobody looks at how good these models are.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from _results import ROOT, at_least, at_most, not_had, row, write_result
from _timed import DAY, timed
from _training import child, environment
from shop_speed import drawn

CUSTOMERS, ITEMS, SHOWN = 100_000, 50_000, 10
MILLION = (1_000_000, 200_000)
PEER = """
import json, sys, time, resource
import lightgbm, numpy as np, shap
features = np.load(sys.argv[1] + "/features.npy")
booster = lightgbm.Booster(model_file=sys.argv[1] + "/runs/churn/trees.txt")
explainer = shap.TreeExplainer(booster)
wall, used = time.perf_counter(), time.process_time()
values = explainer.shap_values(features)
seconds, cpu = time.perf_counter() - wall, time.process_time() - used
np.save(sys.argv[1] + "/shap.npy", np.asarray(values).reshape(len(features), -1))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak_gib": peak,
                  "version": f"shap {shap.__version__}, lightgbm {lightgbm.__version__}"}))
"""


def verb(name: str, place: Path, *words: str) -> None:
    """One verb in the shop's folder."""
    told = ["--config-dir", "conf", "dataset=drawn", "split=temporal", "tracking=none", "progress=false",
            "paths.raw=raw", "evaluation.resamples=20"]  # fmt: skip
    command = [sys.executable, str(ROOT / f"{name}.py"), *told, *words]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.strip().splitlines()[-1]}")


def living(log: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The log with some orders left out, so that customers differ in how often they order, and in when they stop."""
    rng, n = np.random.default_rng(2), int(log["user"].max()) + 1
    rate, last = rng.beta(1.5, 1.0, n), rng.uniform(40, 540, n)
    kept = rng.random(int(log["order"].max()) + 1)[log["order"]] < rate[log["user"]]
    kept &= log["at"] - 1_700_000_000 < last[log["user"]] * DAY
    return {name: values[kept] for name, values in log.items()}


def shop(place: Path, customers: int, items: int, days: int) -> Path:
    """The shop's log, its models and the features of everybody who has a score; what is there already stays.

    `days`: of validation, and of test.
    """
    if (place / "features.npy").is_file():
        return place
    import polars as pl

    (place / "raw").mkdir(parents=True, exist_ok=True)
    (place / "conf/dataset").mkdir(parents=True, exist_ok=True)
    log = living(drawn(customers, items))
    names = {"user": "user_id", "item": "item_id", "order": "order_id", "at": "timestamp"}
    frame = pl.DataFrame({names[name]: values for name, values in log.items()})
    price = np.round(np.random.default_rng(1).gamma(2.0, 10.0, items) + 0.5, 2)
    frame.with_columns(event_type=pl.lit("purchase"), price=pl.Series(price[log["item"]])).write_csv(
        place / "raw/drawn.csv"
    )
    columns = (*names.values(), "event_type", "price")
    config = {
        "defaults": [{"override /split@_global_.split": "temporal"}], "name": "drawn",
        "raw": {"folder": "", "files": ["drawn.csv"]}, "reader": {"format": "csv"},
        "columns": {name: name for name in columns}, "timestamp": {"unit": "s"}, "target_events": ["purchase"],
        "filter_seen": False, "max_rejected_share": 0, "temporal": {"validation_days": days, "test_days": days},
        "churn": {"horizon_days": 60, "active_days": 120}, "filters": {},
    }  # fmt: skip
    (place / "conf/dataset/drawn.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    verb("prepare", place)
    verb("train", place, "model=lightgbm", "hydra.run.dir=runs/churn")
    verb("train", place, "model=item_knn", "hydra.run.dir=runs/items")
    code = "import numpy as np; from shopkeeper.pipeline.runs import open_run; from shopkeeper.pipeline.score import "
    code += "said_as_of; np.save('features.npy', said_as_of(open_run('runs/churn')).cohort.features)"
    subprocess.run([sys.executable, "-c", code], cwd=place, check=True)
    return place


def reasons(place: Path) -> dict[str, float]:
    """Shares of every feature in every customer's score."""
    import lightgbm

    from shopkeeper.models.shares import tree_shares

    features = np.load(place / "features.npy")
    booster = lightgbm.Booster(model_file=place / "runs/churn/trees.txt")
    found: list[Any] = []
    got = timed(lambda: found.append(tree_shares(booster, features)))
    np.save(place / "ours.npy", found[0].share)
    return got | {"rows": len(features), "trees": booster.num_trees()}


def audience(place: Path) -> dict[str, float]:
    """The verb as a command line runs it."""
    started = time.perf_counter()
    verb(
        "audience", place, "audience=about_to_buy", "audience.who.score.share=null", "audience.needs_consent=false",
        "scores=runs/churn", "recommender=runs/items", f"audience.blocks.for_you.k={SHOWN}", "out=everybody",
    )  # fmt: skip
    seconds, used = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    customers = json.loads((place / "everybody/card.json").read_text(encoding="utf-8"))["customers"]
    return {
        "seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_gib": used.ru_maxrss / 2**20,
        "rows": customers["in_the_audience"],
    }  # fmt: skip


def measured(kind: str, place: Path, repetitions: int) -> dict[str, list[dict[str, Any]]]:
    """Every run of every system, in turn."""
    one = ["env", "OMP_NUM_THREADS=1"]
    systems = {"shopkeeper": [*(one if kind == "reasons" else []), sys.executable, __file__, "--run", kind, str(place)]}
    if kind == "reasons" and (python := environment("shap")):
        systems["shap"] = [*one, str(python), "-c", PEER, str(place)]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in systems}
    for _ in range(repetitions):
        for name, command in systems.items():
            got = child(command, 3600)
            if isinstance(got, str):
                raise RuntimeError(f"{name}, {kind}: {got}")
            print(f"{kind}, {name}: {got}", flush=True)
            found[name].append(got)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", nargs=2, metavar=("KIND", "FOLDER"), help="one run in this process")
    parser.add_argument("--only", nargs="+", choices=["reasons", "audience"], default=["reasons", "audience"])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=ROOT / "data" / "bench", help="the drawn shop and its models")
    parser.add_argument("--scale", type=float, default=1.0, help="of the drawn shop; a smaller one writes no result")
    parser.add_argument("--million", action="store_true", help="the audience at full size alone")
    parser.add_argument("--note", help="what a reader of the result must know, e.g. other work on the machine")
    a = parser.parse_args()
    if a.run:
        print(json.dumps({"reasons": reasons, "audience": audience}[a.run[0]](Path(a.run[1]))))
        return
    rows: list[dict[str, Any]] = []
    claims: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    customers, items = (round(a.scale * n) for n in (MILLION if a.million else (CUSTOMERS, ITEMS)))
    place = shop((a.folder / f"audience-{customers}-{items}").resolve(), customers, items, 1 if a.million else 28)
    for kind in ["audience"] if a.million else a.only:
        found = measured(kind, place, a.repetitions)
        for name, runs in found.items():
            versions |= {name: runs[0]["version"]} if "version" in runs[0] else {}
            for figure, unit in (("seconds", "s"), ("cpu_seconds", "s of processor time"), ("peak_gib", "GiB")):
                rows.append(row(name, kind, figure, unit, [run[figure] for run in runs]))
        median = {(r["system"], r["figure"]): r["median"] for r in rows if r["dataset"] == kind}
        if kind == "audience":
            size = f"an audience of {int(found['shopkeeper'][0]['rows']):,} customers with {SHOWN} items each"
            most, aim = (300, {}) if a.million else (60, {"kind": "aim"})
            claims.append(at_most("Campaigns", f"{size}: seconds", median["shopkeeper", "seconds"], most, **aim))
            claims.append(at_most("Campaigns", f"{size}: GiB", median["shopkeeper", "peak_gib"], 4))
        elif "shap" in found:
            about = f"{int(found['shopkeeper'][0]['rows']):,} rows, {int(found['shopkeeper'][0]['trees'])} trees"
            apart = float(np.abs(np.load(place / "ours.npy") - np.load(place / "shap.npy")).max())
            for figure in ("seconds", "cpu_seconds"):
                ratio = median["shap", figure] / median["shopkeeper", figure]
                what = f"reasons: times as fast as shap, {figure.replace('_', ' ')} ({about})"
                claims.append(at_least("Campaigns", what, ratio, 5))
            claims.append(at_most("Campaigns", "reasons: the largest difference from shap's values", apart, 1e-9))
        else:
            claims.append(not_had("Campaigns", "reasons: times as fast as shap", 5, "no environment .venv-shap"))
    if a.scale == 1:
        write_result("audience_million" if a.million else "audience", rows, claims, versions=versions, note=a.note)
    else:
        print(json.dumps(claims, indent=1))


if __name__ == "__main__":
    main()
