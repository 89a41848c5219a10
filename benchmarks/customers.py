"""Customer models on real and simulated shops: who leaves, how much is spent, how often and when is ordered.

    python benchmarks/customers.py --row churn            # online_retail, log loss and AUROC
    python benchmarks/customers.py --row spend            # online_retail, MAE, normalised Gini, bias
    python benchmarks/customers.py --row orders           # online_retail, the same and Poisson deviance
    python benchmarks/customers.py --row next_order       # online_retail, pinball loss and concordance
    python benchmarks/customers.py --row demo_shop        # churn beside the exact oracle; also demo_shop_btyd, …
    python benchmarks/customers.py --row cdnow_sample     # the sample of 2,357, 39 + 39 weeks, cross-fitted
    python benchmarks/customers.py --row cdnow            # all 23,570, the same
    python benchmarks/customers.py --row cdnow_rolling    # who leaves for 13 weeks, at rolling cutoffs
    python benchmarks/customers.py --row alibaba_2014     # who does not buy for two weeks
    python benchmarks/customers.py --row telco_churn      # a table of customers in folds; also online_shoppers
    python benchmarks/customers.py --row still_customer   # demo_shop_btyd, against who had really left
    python benchmarks/customers.py --row power            # demo_shop: how sure the exact oracle's own lead could be

Rows of logs are `python train.py dataset=… task=… model=…` with the words of `ROWS`: models are fitted at cutoffs a
week (a month) apart until the last one observed before test; nobody is spent on calibration. Tables of customers are
split in folds. Which model is put forward is decided on validation by the task's headline, before test is looked at:
of counts and amounts Poisson deviance, which is least where means are right, as answers are meant. The mean absolute
error, by which it was decided for amounts until 2026-11-29, is least at medians: where most customers spend nothing,
low answers do well by it. With `--seeds 5` each in which something is drawn is trained so often; `values` hold each
seed's figure, and intervals are those of the first.

The two rows of 39 + 39 weeks have one cutoff, so models that learn from labels are cross-fitted over customers and are
not out of time, the weights of the blend and the conformal step too; BG/NBD and Pareto/NBD are fitted on the weeks
before the cutoff alone. Their model is the one with the least absolute error, by which the papers judge, in the last
13 of the first 39 weeks. Each row rewrites its own part of the result file; others say in `measured` where they are
from.

A long row can be measured in parts: with `--runs FOLDER` a training stays there, and one that was told the same words
is not done again (throw the folder away when the code has changed); `--models gru transformer` trains those alone and
writes no figures yet. `--without gru transformer` measures a row without these: which is put forward is decided among
the others, and the file's `command` and `measured` say so.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from _halves import OUT_OF_TIME, said_of_halves
from _power import lead
from _results import RESULTS, ROOT, at_least, at_most, row, write_result
from shopkeeper.evaluation.aggregates import compare
from shopkeeper.evaluation.table import read_table, summarise

NETWORKS = ("mlp", "gru", "transformer")
CHURN = ("base_rate", "logistic", "lightgbm", "hazard", "bg_nbd", "pareto_nbd", *NETWORKS, "blend", "blend_networks")
TOTALS = ("base_rate", "last_period", "two_part", "lightgbm", "bg_nbd", "pareto_nbd", *NETWORKS, "blend")
FIGURES = {
    "churn": ("log_loss", "auroc", "ece"),
    "spend": ("poisson_deviance", "absolute_error", "normalised_gini", "bias", "rmse"),
    "orders": ("poisson_deviance", "absolute_error", "normalised_gini", "bias", "rmse"),
    "next_order": ("pinball", "concordance", "absolute_error", "in_interval"),
}
COMPARED = {
    "churn": ("log_loss", "auroc"),
    "spend": ("poisson_deviance", "absolute_error", "normalised_gini", "absolute_bias"),
    "orders": ("poisson_deviance", "absolute_error", "normalised_gini", "absolute_bias"),
    "next_order": ("pinball", "concordance"),
}
WAITS = ("base_rate", "usual_gap", "quantile_trees", "hazard", "bg_nbd", "pareto_nbd", *NETWORKS)
TABLE = ("base_rate", "logistic", "lightgbm")
RIVALS = ("lightgbm", "bg_nbd")  # that the model put forward has to pass …
SURELY = ("demo_shop", "cdnow")  # … on these
EVERY_WEEK = ("evaluation.refit=true", "task.windows.step_days=7")
EVERY_MONTH = ("evaluation.refit=true", "task.windows.step_days=30")
ORACLE = "oracle_observable_churn"
FIXED = ("base_rate", "last_period", "usual_gap", "logistic", ORACLE)  # in which nothing is drawn by the seed
DEMO = ("demo_shop", "demo_shop_btyd", "demo_shop_markov", "demo_shop_seasonal")


@dataclass(frozen=True)
class Log:
    """A row of trainings: a dataset and a task of it, the models, and the words that all of them are told."""

    dataset: str
    task: str
    models: tuple[str, ...]
    words: tuple[str, ...] = ()


ROWS = {
    "churn": Log("online_retail", "churn", CHURN, EVERY_WEEK),
    "spend": Log("online_retail", "spend", (*TOTALS, "blend_networks"), EVERY_WEEK),
    "orders": Log("online_retail", "orders", TOTALS, EVERY_WEEK),
    "next_order": Log("online_retail", "next_order", WAITS, EVERY_WEEK),
    **{name: Log(name, "churn", (*CHURN, ORACLE), EVERY_MONTH) for name in DEMO},
    "cdnow_rolling": Log("cdnow", "churn", CHURN, ("task.windows.horizon_days=91", *EVERY_MONTH)),
    "alibaba_2014": Log("alibaba_2014", "churn", CHURN, (
        "task.windows.horizon_days=14", "task.windows.active_days=30", *EVERY_WEEK,
    )),
    "telco_churn": Log("telco_churn", "churn", TABLE),
    "online_shoppers": Log("online_shoppers", "propensity", TABLE),
}  # fmt: skip
# cdnow_sample: the paper's two halves, and before them a quarter of the first one.
CDNOW = {"validation": ("1997-07-01", 92), "test": ("1997-10-01", 273)}  # cutoff and days; the later one last
HALVES = ("cdnow_sample", "cdnow")
Rows = list[dict[str, Any]]


def of_log(log: Log, seeds: int, kept: Path | None) -> tuple[Rows, Rows]:
    """Each model trained once for each seed; the one that leads on validation, oracles aside, is put forward."""
    rows: Rows = []
    validation: dict[str, float] = {}
    tables: dict[str, pa.Table] = {}
    test: dict[str, Mapping[str, Any]] = {}
    figures = FIGURES[log.task] if log.task in FIGURES else FIGURES["churn"]
    for model in log.models:
        metrics, tables[model] = trained(log, model, 1, kept)
        others = [trained(log, model, seed, kept)[0] for seed in range(2, seeds + 1) if model not in FIXED]
        validation[model], test[model] = metrics["validation"][figures[0]]["value"], metrics["test"]
        for part in ("validation", "test"):
            for name in figures:
                values = [one[part][name]["value"] for one in (metrics, *others)]
                rows.append(_figure(model, log.dataset, f"{log.task}: {part} {name}", metrics[part][name], values))
        print(
            log.dataset, log.task, model, {name: round(test[model][name]["value"], 4) for name in figures}, flush=True
        )
    own = {model: value for model, value in validation.items() if model != ORACLE}
    best = min(own, key=lambda model: own[model])  # before test is looked at
    differences = _differences(tables, best, log)
    what = f"{log.dataset}, {log.task} on test of the model that leads on validation ({best}), "
    claims = _claimed(log, what, test[best], test.get(ORACLE))
    if log.task in ("churn", "propensity"):
        claims += _set_against(log, what, test[best], best, differences)
    return rows + differences, claims


def _set_against(log: Log, what: str, value: Mapping[str, Any], best: str, differences: Rows) -> Rows:
    """What is required of probabilities beside those of other models, and of a perfectly calibrated one."""
    gained = {}  # by the model put forward over each other one in log loss: the interval's ends
    for one in differences:
        a, b = one["system"].split(" against ")
        if one["figure"].endswith("difference of log_loss on test") and ORACLE not in (a, b):
            gained[b if a == best else a] = (one["low"], one["high"]) if a == best else (-one["high"], -one["low"])
    least = min((high for _, high in gained.values()), default=0.0)
    ece, perfect = value["ece"], value["ece_if_calibrated"]["high"]
    return [
        at_least("customers", f"{what}gain in log loss over any other model, the interval's upper end", least, 0.0),
        at_most("customers", f"{what}ECE beside the upper end of a perfectly calibrated model's",
                ece["value"], perfect),
        *(at_least("customers", f"{what}gain in log loss over {rival}, the interval's lower end",
                   gained.get(rival, (0.0, 0.0))[0], 1e-6)
          for rival in RIVALS if log.dataset in SURELY),
    ]  # fmt: skip


def _claimed(log: Log, what: str, value: Mapping[str, Any], oracle: Mapping[str, Any] | None) -> Rows:
    """What is required of the model that is put forward."""
    if oracle is not None:
        over = value["log_loss"]["value"] - oracle["log_loss"]["value"]
        below = oracle["auroc"]["value"] - value["auroc"]["value"]
        return [at_most("customers", f"{what}log loss above that of the exact oracle", over, 0.008),
                at_most("customers", f"{what}AUROC below that of the exact oracle", below, 0.01)]  # fmt: skip
    if (log.dataset, log.task) == ("online_retail", "churn"):
        return [at_most("customers", f"{what}log loss", value["log_loss"]["value"], 0.540)]
    if (log.dataset, log.task) == ("online_retail", "spend"):
        return [
            at_most("customers", f"{what}MAE", value["absolute_error"]["value"], 650.0),
            at_most("customers", f"{what}|bias| in %", abs(value["bias"]["value"]), 10.0),
            at_least("customers", f"{what}normalised Gini", value["normalised_gini"]["value"], 0.81),
        ]
    return []


def trained(log: Log, model: str, seed: int, kept: Path | None = None) -> tuple[dict[str, Any], pa.Table]:
    """The figures and the table on test of one training with the settings that are shipped; `kept`: where it stays."""
    words = [f"dataset={log.dataset}", f"task={log.task}", f"model={model}", "tracking=none", f"seed={seed}"]
    words += log.words
    with tempfile.TemporaryDirectory() as place:
        name = hashlib.sha256(" ".join(words).encode()).hexdigest()[:12]
        run = Path(place) / "run" if kept is None else kept.resolve() / f"{log.dataset}-{log.task}-{model}-{name}"
        if not (run / "manifest.json").is_file():
            command = [sys.executable, "train.py", *words, f"hydra.run.dir={run}"]
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return json.loads((run / "metrics.json").read_text(encoding="utf-8")), read_table(run / "test.parquet")


def of_cdnow(dataset: str) -> tuple[Rows, Rows]:
    """Orders in the second half of everybody who first bought in the first."""
    from shopkeeper.customers.base import Predictions
    from shopkeeper.evaluation.rows.labels import customer_table

    prepared = _prepared(dataset)
    about = {"dataset": dataset, "task": "orders"}
    rows: Rows = []
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    tables: dict[str, pa.Table] = {}
    for part, (cutoff, horizon) in CDNOW.items():
        cohort, said, spread = said_of_halves(prepared, cutoff, horizon)
        tables = {
            name: customer_table(prepared, cohort, Predictions(value), {**about, "model": name, "part": part})
            for name, value in said.items()
        }
        found[part] = {name: summarise(table) for name, table in tables.items()}
        rows += [_figure(_crossed(name), dataset, f"orders: {part} {figure}", found[part][name][figure])
                 for name in said for figure in FIGURES["orders"]]  # fmt: skip
        rows += [_plain(_crossed(name), dataset, f"orders: {part} PIT-KS, {how}", value)
                 for name, of in spread.items() for how, value in of.items()]  # fmt: skip
    led = {name: figures["absolute_error"]["value"] for name, figures in found["validation"].items()}
    best = min(led, key=lambda name: led[name])  # before test is looked at
    rows += _differences(tables, best, Log(dataset, "orders", ()))
    what, value = f"{dataset}, orders, 39 + 39 weeks, {_crossed(best)} (leads on validation), ", found["test"][best]
    if dataset != "cdnow_sample":  # what the papers say is of the sample
        return rows, [
            at_most("customers", f"{what}PIT-KS of counts after the conformal step", spread[best]["conformal"], 0.05)
        ]
    return rows, [
        at_most("customers", f"{what}MAE", value["absolute_error"]["value"], 0.786),
        at_most("customers", f"{what}RMSE", value["rmse"]["value"], 1.608),
        at_most("customers", f"{what}|bias| in %", abs(value["bias"]["value"]), 12.0),
        at_most("customers", f"{what}PIT-KS of counts after the conformal step", spread[best]["conformal"], 0.05),
    ]


def of_who_had_left() -> tuple[Rows, Rows]:
    """Probabilities of still being a customer, against the states of a simulated shop that its log does not show."""
    from shopkeeper.data.prepared import Prepared
    from shopkeeper.metrics.classification import auroc, log_loss
    from shopkeeper.simulated.link import Link, hidden_truth

    log = Log("demo_shop_btyd", "still_customer", ("base_rate", "logistic", "lightgbm", "bg_nbd", "pareto_nbd"))
    rows: Rows = []
    for model in log.models:
        metrics, table = trained(log, model, 1)
        prepared = Prepared.open(ROOT / "data/prepared" / log.dataset)
        world = Link.of(prepared).world()
        day = world.day_of(table["instant"].cast(pa.int64()).to_numpy()) - 1
        state = hidden_truth(prepared)[1][table["user"].to_numpy(), day]
        gone = world.n_states - 1  # of which nobody orders
        said = table["probability"].to_numpy()
        there = (state != gone).astype(np.float64)
        for name, value in (("AUROC", auroc(there, said)), ("log loss", log_loss(there, said))):
            rows.append(_plain(model, log.dataset, f"still_customer: {name} of who had not left", float(value)))
        rows += [_figure(model, log.dataset, f"still_customer: test {name}", metrics["test"][name])
                 for name in FIGURES["churn"]]  # fmt: skip
        rows += [_plain(model, log.dataset, "still_customer: mean", float(said.mean())),
                 _plain("the truth", log.dataset, "still_customer: share", float(there.mean()))]  # fmt: skip
        print(model, [round(r["median"], 4) for r in rows[-7:]], flush=True)
    return rows, []


def of_power() -> tuple[Rows, Rows]:
    """The lead of `demo_shop`'s exact oracle over the trees, and half an interval of it, alone and in the row's family.

    No model that learns can be expected to lead by more. The family is every pair of the row's models by each metric;
    its intervals are taken as wide as Bonferroni's.
    """
    log = ROWS["demo_shop"]
    trees, oracle = (trained(log, model, 1)[1] for model in ("lightgbm", ORACLE))
    family = math.comb(len(log.models), 2) * len(COMPARED["churn"])
    rows = [_plain(f"{ORACLE} against lightgbm", log.dataset, f"power: {what}", value)
            for what, value in lead(trees, oracle, "log_loss", family).items()]  # fmt: skip
    print({r["figure"]: round(r["median"], 4) for r in rows}, flush=True)
    return rows, []


def _crossed(name: str) -> str:
    return name if name in OUT_OF_TIME else f"{name}, cross-fitted, not out of time"


def _prepared(dataset: str) -> Any:
    from shopkeeper.data.prepared import Prepared

    words = [f"dataset={dataset}", "task=churn"]
    subprocess.run([sys.executable, "prepare.py", *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return Prepared.open(ROOT / "data/prepared" / dataset)


def _figure(
    system: str, dataset: str, figure: str, found: Mapping[str, Any], values: Sequence[float] = ()
) -> dict[str, Any]:
    return row(system, dataset, figure, "", values or [found["value"]]) | {
        key: found[key] for key in ("low", "high", "n")
    }


def _plain(system: str, dataset: str, figure: str, value: float) -> dict[str, Any]:
    return row(system, dataset, figure, "", [value])


def _differences(tables: Mapping[str, pa.Table], best: str, log: Log) -> Rows:
    """The one that is put forward against each other one, all of a row judged as one family."""
    task = log.task
    found = compare(tables, COMPARED[task] if task in COMPARED else COMPARED["churn"], test="randomisation")
    return [
        row(
            f"{one.a} against {one.b}", log.dataset, f"{task}: difference of {one.metric} on test", "", [one.difference]
        )
        | {"low": one.low, "high": one.high, "p_adjusted": one.p_adjusted, "said": one.statement}
        for one in found
        if best in (one.a, one.b)
    ]


def of_before() -> tuple[Rows, Rows]:
    """Rows and claims of the result file; rows of its last command say so in `measured`, as others may already do.

    Those that do not are from before rows said where they are from: the file's history in git tells.
    """
    path = RESULTS / "customers.json"
    if not path.is_file():
        return [], []
    result = json.loads(path.read_text(encoding="utf-8"))
    last = re.search(r"--row (\w+)", result["command"])
    origin = {"measured": {key: result[key] for key in ("command", "commit", "date")}}
    of_last = None if last is None else place_of(last[1])
    return [(origin if asked_of(r) == of_last else {}) | r for r in result["rows"]], result["claims"]


def asked_of(row: Mapping[str, Any]) -> tuple[str, str]:
    """The dataset and the task of a row of the file."""
    return row["dataset"], row["figure"].partition(":")[0]


def place_of(name: str) -> tuple[str, str]:
    """The dataset and the task of what `--row` names."""
    if name in HALVES:
        return name, "orders"
    if name == "power":
        return "demo_shop", name
    return ("demo_shop_btyd", name) if name == "still_customer" else (ROWS[name].dataset, ROWS[name].task)


ALONE = {"still_customer": of_who_had_left, "power": of_power}


def main(name: str, seeds: int, runs: Path | None, without: Sequence[str] = ()) -> None:
    """Measure a row, and keep the others."""
    kept, claims_before = of_before()
    if name in HALVES:
        rows, claims = of_cdnow(name)
    elif name in ALONE:
        rows, claims = ALONE[name]()
    else:
        log = ROWS[name]
        rows, claims = of_log(replace(log, models=tuple(m for m in log.models if m not in without)), seeds, runs)
    mine = place_of(name)
    others = [r for r in kept if asked_of(r) != mine]
    said = [c for c in claims_before if not c["what"].startswith(f"{mine[0]}, {mine[1]}")]
    write_result("customers", others + rows, said + claims)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", choices=(*ROWS, *HALVES, *ALONE), required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--runs", type=Path, help="where trainings stay")
    parser.add_argument("--models", nargs="+", default=[], help="train these alone into --runs")
    parser.add_argument("--without", nargs="+", default=[], choices=CHURN, help="models that are not asked")
    told = parser.parse_args()
    if told.models and (told.runs is None or told.row not in ROWS):
        parser.error("--models trains models of a row of a log into --runs")
    for model in told.models:
        for seed in range(1, told.seeds + 1):
            trained(ROWS[told.row], model, seed, told.runs)
    if not told.models:
        main(told.row, told.seeds, told.runs, told.without)
