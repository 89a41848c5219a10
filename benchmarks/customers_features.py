"""Which features models about customers are given unless another choice is named: decided on validation alone.

    python benchmarks/customers_features.py                      # every shop and task, usual and rich
    python benchmarks/customers_features.py --shops demo_shop --tasks churn --models lightgbm

Each model is fitted on the training cutoffs with each declaration and asked at the calibration cutoff, as a search
would; test is not asked. Differences are paired by customer, all of a shop and a task judged as one family; above 0 the
other declaration is worse than `usual`, in log loss or Poisson deviance.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from typing import Any

import pyarrow as pa

from _results import ROOT, row, write_result
from shopkeeper.evaluation.aggregates import compare
from shopkeeper.pipeline.forms.learn import learn
from shopkeeper.pipeline.stages.compose import composed
from shopkeeper.pipeline.told import Train, settings

SHOPS = {
    "online_retail": ("task.windows.step_days=7",),
    "demo_shop": ("task.windows.step_days=30",),
    "cdnow": ("task.windows.horizon_days=91", "task.windows.step_days=30"),
}
HEADLINE = {"churn": "log_loss", "spend": "poisson_deviance"}
# By name: what a training is told.
DECLARED: dict[str, tuple[str, ...]] = {"usual": (), "rich": ("features=rich",)}
GROUPS = (
    *("trends", "category", "brand", "price_level", "discounts", "sessions", "time_of_day", "time_of_week", "season"),
    "position",
)


def validated(shop: str, task: str, model: str, words: tuple[str, ...]) -> tuple[dict[str, Any], pa.Table]:
    """Figures and rows of validation."""
    told = [
        f"dataset={shop}",
        f"model={model}",
        f"task={task}",
        "tracking=none",
        "progress=false",
        *SHOPS[shop],
        *words,
    ]
    cfg = settings(composed("train", told), Train)
    with ExitStack() as held:
        found = learn(cfg, ("validation",), lambda *_: None, held)
    return found.metrics["validation"], found.tables["validation"]


def differences(tables: dict[str, pa.Table], shop: str, task: str) -> list[dict[str, Any]]:
    """Each declaration less the usual one, of each model."""
    rows = []
    for one in compare(tables, (HEADLINE[task],), test="randomisation"):
        (of_a, a), (of_b, b) = one.a.split(", "), one.b.split(", ")
        if of_a != of_b or "usual" not in (a, b):
            continue
        sign, other = (1, b) if a == "usual" else (-1, a)  # it says b - a
        value = sign * one.difference
        low, high = sorted((sign * one.low, sign * one.high))
        figure = f"{task}: difference of {one.metric} on validation"
        found = row(f"{of_a}, {other} less usual", shop, figure, "", [value])
        rows.append(found | {"low": low, "high": high, "p_adjusted": one.p_adjusted})
        print(shop, task, of_a, other, f"{value:+.4f} ({low:+.4f} to {high:+.4f})", flush=True)
    return rows


def main(shops: list[str], tasks: list[str], models: list[str], declared: dict[str, tuple[str, ...]]) -> None:
    """Measure, and write what was found."""
    rows: list[dict[str, Any]] = []
    for shop in shops:
        for task in tasks:
            tables = {}
            for model in models:
                for name, words in declared.items():
                    began = time.process_time()
                    figures, tables[f"{model}, {name}"] = validated(shop, task, model, words)
                    said = {key: figures[key] for key in (HEADLINE[task], "auroc", "absolute_error") if key in figures}
                    rows += [row(f"{model}, {name}", shop, f"{task}: validation {key}", "", [one["value"]])
                             for key, one in said.items()]  # fmt: skip
                    shown = {key: round(one["value"], 4) for key, one in said.items()}
                    print(shop, task, model, name, shown, f"{time.process_time() - began:.0f} s", flush=True)
            rows += differences(tables, shop, task)
    write_result("customers_features", rows, [], note="other work on the machine; no seconds are claimed",
                 folder=ROOT / "benchmarks/results")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shops", nargs="+", default=list(SHOPS), choices=list(SHOPS))
    parser.add_argument("--tasks", nargs="+", default=list(HEADLINE), choices=list(HEADLINE))
    parser.add_argument("--models", nargs="+", default=["lightgbm"])
    parser.add_argument("--each", nargs="*", default=[], choices=GROUPS, help="usual and each of these groups, too")
    a = parser.parse_args()
    each = {f"usual and {g}": ("features=rich", *(f"features.{o}=null" for o in GROUPS if o != g)) for g in a.each}
    main(a.shops, a.tasks, a.models, DECLARED | each)
