"""What a report says of one task: its models' tables and figures, what follows from them, and who leads."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.evaluation.table import oracle_of
from shopkeeper.pipeline import context
from shopkeeper.pipeline.comparing.choose import ahead
from shopkeeper.pipeline.comparing.commands import about_the_same, evaluate_again
from shopkeeper.pipeline.forms import form_of
from shopkeeper.pipeline.runs import RunFolder, distinct_names
from shopkeeper.pipeline.shell.terminal import program
from shopkeeper.pipeline.told import Evaluate
from shopkeeper.tasks.base import REQUESTS

log = logging.getLogger(__name__)


def section_of(cfg: Evaluate, task: str, runs: Sequence[RunFolder]) -> dict[str, Any]:
    """Everything about one task: tables by model, metrics, comparisons on the headline metric, sanity checks."""
    from shopkeeper.evaluation.aggregates import compare
    from shopkeeper.evaluation.alarms.oracle_alarm import oracle_alarms
    from shopkeeper.evaluation.money import compare_money, money_metric
    from shopkeeper.pipeline.comparing.now import said_now

    headline = str(runs[0].config["task"]["headline"])
    lower = runs[0].config["task"].get("direction") == "minimize"
    by_name = dict(zip(distinct_names(runs), runs, strict=True))
    prepared = _of_one_dataset(runs)
    tables = {name: run.table("test") for name, run in by_name.items()}
    metrics = {name: _metrics(cfg, run, tables[name]) for name, run in by_name.items()}
    form = form_of(runs[0].about, runs[0].told.dataset)
    for name, run in by_name.items():
        if headline not in metrics[name]["test"]:
            undefined = form.without_headline(run, runs[0], headline, tables[name])
            metrics[name] = {**metrics[name], "test": {**metrics[name]["test"], headline: undefined}}
    e = cfg.evaluation
    options: dict[str, Any] = {k: getattr(e, k) for k in ("confidence", "resamples", "smallest_effect")}
    options["test"] = cfg.report.test
    tables, split = form.sliced(by_name, tables, prepared)
    if cfg.segments is not None:
        from shopkeeper.evaluation.rows.segments import with_segments

        tables = {name: with_segments(table, cfg.segments) for name, table in tables.items()}
    found = compare(tables, [headline, *runs[0].about.aggregates], **options)
    money = money_metric(tables, runs[0].about.money, int(headline.partition("@")[2] or e.k[0]))
    found += compare_money(tables, money, **options) if money else []
    figures = {name: metrics[name]["test"] for name in by_name}
    sanity = form.sanity(cfg, by_name, tables, headline, split, found, figures)
    alarms = oracle_alarms(tables, headline) or [str(a) for run in runs if (a := run.manifest.get("alarm"))]
    for alarm in alarms:
        log.warning("alarm: %s", alarm)
    sanity["alarms"] = alarms
    baseline = strongest_baseline(cfg, by_name, headline, lower)
    order = _best_first({n: metrics[n]["test"][headline]["value"] for n in by_name}, sanity["seeds"], lower)
    about, place = runs[0].about, cfg.placement
    if place is not None and place.question:
        about = replace(about, words=replace(about.words, question=place.question))
    leader = next((n for n in order if not oracle_of(tables[n]) and metrics[n]["test"][headline]["value"]), None)
    return {
        "task": task,
        "about": about,
        "money": money,
        "now": None
        if leader is None or not cfg.report.now
        else said_now(by_name[leader], tables[leader], e.confidence),
        "leader": leader,
        "ahead": ahead(
            {n: run for n, run in by_name.items() if run.manifest.get("mlflow_run") and not oracle_of(tables[n])}
        ),
        "placement": None if place is None else place.name,
        "headline": headline,
        "baseline": baseline,
        "lower_is_better": lower,
        "names": order,
        "runs": {name: run.path for name, run in by_name.items()},
        "configs": {name: run.config for name, run in by_name.items()},
        "manifests": {name: run.manifest for name, run in by_name.items()},
        "metrics": {name: metrics[name] for name in order},
        "tables": tables,
        "comparisons": [c.as_dict() for c in found],
        "leaderboard": {n: {m: v["value"] for m, v in metrics[n]["test"].items()} for n in order},
        "sanity": sanity,
        "command": evaluate_again(cfg),
        "others": {"score": program("score")} | {v: about_the_same(cfg, v) for v in ("audience", "segments")},
        "prepared": prepared,
        "split": split,
        "confidence": e.confidence,
        "intervals": cfg.report.intervals,
        "test": options["test"],
    }


def _of_one_dataset(runs: Sequence[RunFolder]) -> Prepared:
    """The data of all; a `UserError` where one was trained on other data."""
    prepared = context.prepared_of(runs[0].manifest)
    for run in runs[1:]:
        if run.manifest["dataset_fingerprint"] != prepared.fingerprint:
            raise UserError(
                f"{run.path} was trained on other data than {runs[0].path} (fingerprints differ); train both on "
                f"one dataset"
            )
    return prepared


def strongest_baseline(cfg: Evaluate, runs: Mapping[str, RunFolder], headline: str, lower: bool) -> str | None:
    """The baseline that others are set beside: of those that are always in the table, the best one on validation.

    None: what the settings name, or the task; also where validation says nothing.
    """
    if cfg.report.baseline or next(iter(runs.values())).about.asks != REQUESTS:
        return None
    known = {m.name for m in (*cfg.report.baselines.values(), *cfg.report.shop_baselines.values())}
    found = {
        run.metrics["model"]: value
        for run in runs.values()
        if run.metrics["model"] in known
        and (value := run.metrics.get("validation", {}).get(headline, {}).get("value")) is not None
    }
    return (min if lower else max)(found, key=lambda name: found[name]) if found else None


def _best_first(value: Mapping[str, float | None], seeds: Mapping[str, Any], lower: bool) -> list[str]:
    """Names by the mean over a model's seeds, then by seed: a lucky seed neither leads nor speaks for its model."""
    several = {run: found for found in seeds.values() for run in found["runs"]}

    def key(name: str) -> tuple[float, int]:
        of = several.get(name)
        mean = of["mean"] if of else value[name]
        if mean is None:  # not defined for anybody
            return math.inf, 0
        return (mean if lower else -mean), (of["runs"].index(name) if of else 0)

    return sorted(value, key=key)


def _metrics(cfg: Evaluate, run: RunFolder, table: pa.Table) -> dict[str, Any]:
    """A run's `metrics.json`; its figures on test are made again where other intervals are asked for now."""
    from shopkeeper.evaluation.profit import Profit
    from shopkeeper.evaluation.table import summarise

    e, method = cfg.evaluation, cfg.report.intervals
    then = run.config.get("evaluation") or {}
    known = dict(run.metrics["test"])
    if "profit" not in run.metrics:  # of an older run: a profit from nobody's values
        known.pop("emp", None)
    if method == "percentile" and all(
        then.get(k, own) == own for k, own in {"confidence": e.confidence, "resamples": e.resamples}.items()
    ):
        return {**run.metrics, "test": known}
    profit = Profit.of(run.metrics.get("profit"), run.metrics["dataset"])
    test = summarise(table, method=method, profit=profit, confidence=e.confidence, resamples=e.resamples)
    return {**run.metrics, "test": known | test}
