"""Customer models on real shops: who leaves and how much is spent (online_retail), how often is ordered (cdnow_sample).

    python benchmarks/customers.py --row churn            # online_retail, log loss and AUROC
    python benchmarks/customers.py --row spend            # online_retail, MAE, normalised Gini, bias
    python benchmarks/customers.py --row orders           # online_retail, the same and Poisson deviance
    python benchmarks/customers.py --row cdnow            # the sample of 2,357, 39 + 39 weeks, cross-fitted

Rows of online_retail are `python train.py dataset=online_retail task=… model=… evaluation.refit=true
task.windows.step_days=7` with the settings that are shipped: cutoffs each week, calibration 2010-06-12, test
2010-09-10, horizon and active filter 90 days; nobody is spent on calibration. Which model is put forward is decided on
validation, before test is looked at. The row of cdnow has one cutoff, so models that learn from labels are cross-fitted
over customers and are not out of time, the weights of the blend and the conformal step too; BG/NBD and Pareto/NBD are
fitted on the weeks before the cutoff alone. Its model is the one with the least absolute error in the last 13 of the
first 39 weeks. Each row rewrites its own part of the result file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from _results import RESULTS, ROOT, at_least, at_most, row, write_result
from shopkeeper.evaluation.aggregates import compare
from shopkeeper.evaluation.table import read_table, summarise

CHURN = ("base_rate", "logistic", "lightgbm", "hazard", "bg_nbd", "pareto_nbd", "blend")
TOTALS = ("base_rate", "last_period", "lightgbm", "bg_nbd", "pareto_nbd", "blend")
FIGURES = {
    "churn": ("log_loss", "auroc", "ece"),
    "spend": ("absolute_error", "normalised_gini", "bias", "rmse"),
    "orders": ("poisson_deviance", "absolute_error", "normalised_gini", "bias", "rmse"),
}
COMPARED = {
    "churn": ("log_loss", "auroc"),
    "spend": ("absolute_error", "normalised_gini", "absolute_bias"),
    "orders": ("poisson_deviance", "absolute_error", "normalised_gini", "absolute_bias"),
}
EVERY_WEEK = ("evaluation.refit=true", "task.windows.step_days=7")
# cdnow_sample: the paper's two halves, and before them a quarter of the first one.
CDNOW = {"validation": ("1997-07-01", 92), "test": ("1997-10-01", 273)}  # cutoff and days; the later one last
END, FOLDS = "1998-07-01", 10
OUT_OF_TIME = ("bg_nbd", "pareto_nbd")  # fitted on the orders before the cutoff alone
Rows = list[dict[str, Any]]


def of_online_retail(task: str) -> tuple[Rows, Rows]:
    """Each model trained once; the one that leads on validation is put forward."""
    rows: Rows = []
    validation: dict[str, float] = {}
    tables: dict[str, pa.Table] = {}
    test: dict[str, Mapping[str, Any]] = {}
    headline = FIGURES[task][0]
    for model in CHURN if task == "churn" else TOTALS:
        metrics, tables[model] = trained(task, model)
        validation[model], test[model] = metrics["validation"][headline]["value"], metrics["test"]
        for part in ("validation", "test"):
            rows += [_figure(model, "online_retail", f"{task}: {part} {name}", metrics[part][name])
                     for name in FIGURES[task]]  # fmt: skip
        print(task, model, {name: round(test[model][name]["value"], 4) for name in FIGURES[task]}, flush=True)
    best = min(validation, key=lambda model: validation[model])  # before test is looked at
    rows += _differences(tables, best, "online_retail", task)
    what, value = f"online_retail, {task} on test of the model that leads on validation ({best}), ", test[best]
    if task == "churn":
        return rows, [at_most("customers", f"{what}log loss", value["log_loss"]["value"], 0.540)]
    if task == "orders":
        return rows, []
    return rows, [
        at_most("customers", f"{what}MAE", value["absolute_error"]["value"], 650.0),
        at_most("customers", f"{what}|bias| in %", abs(value["bias"]["value"]), 10.0),
        at_least("customers", f"{what}normalised Gini", value["normalised_gini"]["value"], 0.81),
    ]


def trained(task: str, model: str) -> tuple[dict[str, Any], pa.Table]:
    """The figures and the table on test of one training with the settings that are shipped."""
    words = ["dataset=online_retail", f"task={task}", f"model={model}", "tracking=none", *EVERY_WEEK]
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "run"
        command = [sys.executable, "train.py", *words, f"hydra.run.dir={run}"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return json.loads((run / "metrics.json").read_text(encoding="utf-8")), read_table(run / "test.parquet")


def of_cdnow() -> tuple[Rows, Rows]:
    """Orders in the second half of everybody who first bought in the first."""
    from shopkeeper.customers.base import Predictions
    from shopkeeper.evaluation.rows.labels import customer_table

    prepared = _prepared("cdnow_sample")
    about = {"dataset": "cdnow_sample", "task": "orders"}
    rows: Rows = []
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    tables: dict[str, pa.Table] = {}
    for part, (cutoff, horizon) in CDNOW.items():
        cohort, said, spread = _of_halves(prepared, cutoff, horizon)
        tables = {
            name: customer_table(prepared, cohort, Predictions(value), {**about, "model": name, "part": part})
            for name, value in said.items()
        }
        found[part] = {name: summarise(table) for name, table in tables.items()}
        rows += [_figure(_crossed(name), "cdnow_sample", f"orders: {part} {figure}", found[part][name][figure])
                 for name in said for figure in FIGURES["orders"]]  # fmt: skip
        rows += [_plain(_crossed(name), "cdnow_sample", f"orders: {part} PIT-KS, {how}", value)
                 for name, of in spread.items() for how, value in of.items()]  # fmt: skip
    led = {name: figures["absolute_error"]["value"] for name, figures in found["validation"].items()}
    best = min(led, key=lambda name: led[name])  # before test is looked at
    rows += _differences(tables, best, "cdnow_sample", "orders")
    what, value = f"cdnow_sample, orders, 39 + 39 weeks, {_crossed(best)} (leads on validation), ", found["test"][best]
    return rows, [
        at_most("customers", f"{what}MAE", value["absolute_error"]["value"], 0.786),
        at_most("customers", f"{what}RMSE", value["rmse"]["value"], 1.608),
        at_most("customers", f"{what}|bias| in %", abs(value["bias"]["value"]), 12.0),
        at_most("customers", f"{what}PIT-KS of counts after the conformal step", spread[best]["conformal"], 0.05),
    ]


def _crossed(name: str) -> str:
    return name if name in OUT_OF_TIME else f"{name}, cross-fitted, not out of time"


def _of_halves(
    prepared: Any, cutoff: str, horizon: int
) -> tuple[Any, dict[str, np.ndarray], dict[str, dict[str, float]]]:
    """The cohort, what each model says, and the Kolmogorov-Smirnov distance of its counts, plain and conformal."""
    from scipy.stats import poisson

    from shopkeeper.customers.blend import mixed, weigh
    from shopkeeper.customers.build_cohort import as_it_is, build_cohort
    from shopkeeper.customers.correction.conformal import fit_conformal
    from shopkeeper.customers.folds import folds_by_customer, rows_of
    from shopkeeper.customers.processes import btyd, pareto
    from shopkeeper.customers.state import labels_of
    from shopkeeper.customers.window import ORDERS
    from shopkeeper.metrics.value import ks_distance, pit_counts
    from shopkeeper.models.about import COUNTS
    from shopkeeper.models.fit import Fit
    from shopkeeper.models.make import make
    from shopkeeper.timeline.instants import instant

    told: dict[str, Any] = {"truth": as_it_is, "of": ORDERS, "answers": COUNTS, "observed_until": instant(END, "end")}
    cohort = build_cohort(prepared, instant(cutoff, "cutoff"), horizon, None, **told)
    f = {name: cohort.features[:, place] for place, name in enumerate(cohort.feature_names)}
    x, age = f["orders"] - 1, f["days_since_first_order"]
    T, t_x = (age - 1) / 7, (age - f["days_since_order"]) / 7  # to the last day itself, as the papers count
    said = {
        "bg_nbd": btyd.expected_orders(btyd.fit_bg_nbd(x, t_x, T), x, t_x, T, horizon / 7),
        "pareto_nbd": pareto.expected_orders(pareto.fit_pareto_nbd(x, t_x, T), x, t_x, T, horizon / 7),
    }
    for name in ("base_rate", "lightgbm"):
        settings = yaml.safe_load((ROOT / "conf/model" / f"{name}.yaml").read_text(encoding="utf-8"))
        said[name] = np.empty(len(cohort))
        for some, others in folds_by_customer(cohort.customer, 1, FOLDS):
            model = make(settings)
            model.fit(rows_of(cohort, some), None, Fit(seed=1))
            said[name][others] = model.predict(rows_of(cohort, others)).value
    members = np.stack([said[name] for name in ("lightgbm", *OUT_OF_TIME)], axis=1)
    label, said["blend"] = labels_of(cohort), np.empty(len(cohort))
    spread: dict[str, dict[str, float]] = {name: {} for name in said}
    for some, others in folds_by_customer(cohort.customer, 2, FOLDS):
        said["blend"][others] = mixed(members[others], *weigh(members[some], label[some], COUNTS), COUNTS)
    count = np.arange(int(label.max()) + 2)
    for name, mean in said.items():
        conformal = np.empty((len(mean), len(count)))
        for some, others in folds_by_customer(cohort.customer, 3, FOLDS):
            conformal[others] = fit_conformal(mean[some], label[some], whole=True).cdf(mean[others], len(count))
        plain = poisson.cdf(count[None, :], np.maximum(mean, 1e-9)[:, None])
        for how, cdf in (("Poisson", plain), ("conformal", conformal)):
            spread[name][how] = float(ks_distance(pit_counts(label, cdf)))
    return cohort, said, spread


def _prepared(dataset: str) -> Any:
    from shopkeeper.data.prepared import Prepared

    words = [f"dataset={dataset}", "task=churn"]
    subprocess.run([sys.executable, "prepare.py", *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return Prepared.open(ROOT / "data/prepared" / dataset)


def _figure(system: str, dataset: str, figure: str, found: Mapping[str, Any]) -> dict[str, Any]:
    return row(system, dataset, figure, "", [found["value"]]) | {key: found[key] for key in ("low", "high", "n")}


def _plain(system: str, dataset: str, figure: str, value: float) -> dict[str, Any]:
    return row(system, dataset, figure, "", [value])


def _differences(tables: Mapping[str, pa.Table], best: str, dataset: str, task: str) -> Rows:
    """The one that is put forward against each other one, all of a row judged as one family."""
    found = compare(tables, COMPARED[task], test="randomisation")
    return [
        row(f"{one.a} against {one.b}", dataset, f"{task}: difference of {one.metric} on test", "", [one.difference])
        | {"low": one.low, "high": one.high, "p_adjusted": one.p_adjusted, "said": one.statement}
        for one in found
        if best in (one.a, one.b)
    ]


def main(name: str) -> None:
    """Measure a row, and keep the others."""
    path = RESULTS / "customers.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rows": [], "claims": []}
    rows, claims = of_cdnow() if name == "cdnow" else of_online_retail(name)
    mine = ("cdnow_sample", "orders") if name == "cdnow" else ("online_retail", name)
    others = [r for r in kept["rows"] if (r["dataset"], r["figure"].partition(":")[0]) != mine]
    said = [c for c in kept["claims"] if not c["what"].startswith(f"{mine[0]}, {mine[1]}")]
    write_result("customers", others + rows, said + claims)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", choices=("churn", "spend", "orders", "cdnow"), required=True)
    main(parser.parse_args().row)
