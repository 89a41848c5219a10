"""From the sections that `pipeline.evaluate` makes to the figures of the page."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.evaluation import settings
from shopkeeper.evaluation.compare import LOWER_IS_BETTER
from shopkeeper.evaluation.report.charts import CEILING, GREY
from shopkeeper.evaluation.report.checks import sanity_rows
from shopkeeper.evaluation.report.earnings import currency_of, profits, said_of
from shopkeeper.evaluation.report.facts import audit_rows, day_of, protocol_rows, title_of
from shopkeeper.evaluation.report.figures import (
    IN_GREY,
    Board,
    Difference,
    Gains,
    Model,
    Reliability,
    Report,
    SeedRow,
    SlicePanel,
    SliceRow,
    Value,
    one_per_group,
    rivals_of,
)
from shopkeeper.evaluation.report.window import shop_window
from shopkeeper.evaluation.slices import slice_results
from shopkeeper.evaluation.table import metadata_of, oracle_of
from shopkeeper.metrics.classification_gains import deciles
from shopkeeper.metrics.classification_reliability import reliability_curve
from shopkeeper.tasks.base import REQUESTS, Task
from shopkeeper.tasks.find import find_task

MOST_IN_SLICES = 4  # models drawn in the slices: more could not be told apart
HISTOGRAM = 20  # bars under a reliability curve
PARTS = ("validation", "test")


def gather(
    sections: Mapping[str, Mapping[str, Any]],
    told: settings.Report,
    campaigns: Mapping[str, Any] | None = None,
    earlier: Mapping[str, Any] | None = None,
) -> Report:
    """Everything on the page.

    Args:
        sections: per task: `about` (the task, where it is not this package's own), `headline`, `lower_is_better`,
            `names` (best first), `metrics` (name -> metrics.json), `tables` (name -> per-request table),
            `comparisons`, `baseline` (the model that the best one is set beside, where validation said), `prepared`,
            `split` (None for customer models), `confidence` (.95 where it is not there), and `sanity` as in
            `sanity.json`, where it was found out; `money` (a metric), `now` and `leader` of the best model, where
            there are such.
        told: what a report shows.
        campaigns: `segments`, `audiences` and `uplifts` of the dataset, see `pipeline/comparing/campaigned.py`.
        earlier: what the report before decided by.
    """
    tasks = sorted(sections, key=lambda task: (_task(sections[task]).asks != REQUESTS, task))  # recommenders first
    boards = [board(sections[task], told) for task in tasks]
    window = None
    for b, task in zip(boards, tasks, strict=True):
        if _task(sections[task]).asks == REQUESTS:
            window = shop_window(sections[task], b, told)
    title, subtitle = title_of(sections, tasks)
    prepared, shown = sections[tasks[0]]["prepared"], campaigns or {}
    return Report(
        title, subtitle, boards, window, audit_rows(sections), protocol_rows(sections, tasks),
        dataset=str(prepared.name), customers=int(prepared.n_users), zone=str(prepared.zone), until=day_of(prepared),
        fingerprint=str(prepared.fingerprint), segments=shown.get("segments"), audiences=shown.get("audiences") or (),
        uplifts=shown.get("uplifts") or (), earlier=earlier,
        recommender=next((b.leader for b, t in zip(boards, tasks, strict=True)
                          if _task(sections[t]).asks == REQUESTS and b.leader), ""),
        commands=sections[tasks[0]].get("others") or {},
    )  # fmt: skip


def baseline_of(section: Mapping[str, Any], told: settings.Report) -> str:
    """The model that the best one of a task is set beside."""
    about = _task(section)
    return str(section.get("baseline") or told.named_baseline(about.baseline_setting) or about.baseline)


def board(section: Mapping[str, Any], told: settings.Report) -> Board:
    """One task's models, differences, slices and reliability curves."""
    task, metric, about = str(section["task"]), str(section["headline"]), _task(section)
    baseline = baseline_of(section, told)
    models = _models(section, baseline)
    unscored = [m.label for m in models if metric not in m.metrics]
    models = [m for m in models if metric in m.metrics]
    better = not section.get("lower_is_better", metric.partition("@")[0] in LOWER_IS_BETTER)
    if not models:
        return Board(task, metric, better, [], words=about.words, unscored=unscored)
    rivals = rivals_of(models)
    sanity = section.get("sanity") or {}
    first = section["metrics"][models[0].name]
    tables, money = section["tables"], str(section.get("money") or "")
    made = Board(
        task=task,
        metric=metric,
        higher_is_better=better,
        models=models,
        differences=[
            _difference(c)
            for c in section["comparisons"]
            if c["metric"] == metric and {c["a"], c["b"]} <= {m.name for m in models}
        ],
        further=[
            _difference(c)
            for c in section["comparisons"]
            if c["metric"] != metric and {c["a"], c["b"]} <= {m.name for m in models}
        ],
        slices=_slices(section, rivals, baseline, told),
        reliability=_reliability(section, rivals),
        meta={**metadata_of(tables[models[0].name]), **{k: v for k, v in first.items() if k not in PARTS}},
        n=models[0].metrics[metric].n,
        baseline=baseline,
        curves=sanity.get("coverage_curves") or {},
        gains=_gains(section, models),
        profits=profits(section, models, told),
        money=money if money in models[0].metrics else "",
        in_money=[_difference(c) for c in section["comparisons"] if money and c["metric"] == money],
        currency=currency_of(section),
        now=section.get("now"),
        before={k: _value(v) for k, v in (first.get("validation") or {}).items() if v.get("value") is not None},
        leader=str(section.get("leader") or ""),
        has_consent=section["prepared"].consent is not None,
        seeds=[_seed_row(name, found) for name, found in (sanity.get("seeds") or {}).items()],
        sanity=sanity_rows(sanity, models, baseline, section.get("command") or ("shopkeeper", "evaluate")),
        confidence=float(section.get("confidence", 0.95)),
        zone=str(section["prepared"].zone),
        words=about.words,
        shown=about.shown,
        beneath=about.beneath,
        unscored=unscored,
    )
    return made


def _task(section: Mapping[str, Any]) -> Task:
    """A section's task; by its name, where it is this package's."""
    return section.get("about") or find_task({"name": section["task"]})


def _models(section: Mapping[str, Any], baseline: str) -> list[Model]:
    """Best first, then those that read the moment, oracles last. Baselines are grey, oracles a line; the others take
    colours in order."""
    sanity = section.get("sanity") or {}
    told = set(sanity.get("uses_instant", []))
    family = {run: model for model, found in (sanity.get("seeds") or {}).items() for run in found.get("runs", [])}
    oracle = {name: oracle_of(section["tables"][name]) for name in section["names"]}
    names = sorted(section["names"], key=lambda n: (bool(oracle[n]), n in told))
    models: list[Model] = []
    colours: dict[str, int] = {}  # one per model, whatever the seed
    grey = (baseline,) if baseline in {name.partition("#")[0] for name in names} else IN_GREY  # one mark for one model
    for name in names:
        values = {k: _value(v) for k, v in section["metrics"][name]["test"].items() if v.get("value") is not None}
        values |= _coverage(section["tables"][name], values)
        if oracle[name]:
            colour = CEILING
        elif name.partition("#")[0] in grey:
            colour = GREY
        else:
            colour = colours.setdefault(family.get(name, name), len(colours) % GREY)
        models.append(Model(name, values, colour, name in told, family.get(name, ""), oracle[name]))
    return models


def _value(entry: Mapping[str, Any]) -> Value:
    low, high = (None if entry.get(k) is None or not math.isfinite(entry[k]) else entry[k] for k in ("low", "high"))
    return Value(float(entry["value"]), low, high, int(entry.get("n") or 0))


def _coverage(table: pa.Table, known: Mapping[str, Value]) -> dict[str, Value]:
    """Share of the catalogue that anybody is shown in the top k, where metrics.json does not say it."""
    k = (metadata_of(table).get("k") or [10])[0]
    if f"coverage@{k}" in known or "top_items" not in table.column_names:
        return {}
    lists = pc.list_slice(table["top_items"].combine_chunks(), 0, k)
    shown = len(np.unique(lists.flatten().to_numpy(zero_copy_only=False)))
    return {f"coverage@{k}": Value(shown / max(1, int(metadata_of(table)["n_catalogue"])), n=table.num_rows)}


def _difference(c: Mapping[str, Any]) -> Difference:
    """Better minus worse, or b minus a where they cannot be told apart."""
    swap = c["difference"] is not None and c["difference"] < 0
    better, worse = (c["a"], c["b"]) if swap else (c["b"], c["a"])
    sign = -1.0 if swap else 1.0
    ends = [None if c[k] is None else sign * c[k] for k in ("low", "high")]
    low, high = reversed(ends) if swap else ends
    value = Value(sign * (c["difference"] or 0.0), low, high, int(c["n"]))
    if c["winner"] is not None and c["winner"] != better:  # a metric of which less is better
        better, worse = worse, better
    clear = bool(c["significant"])
    return Difference(
        better, worse, c["metric"], value, c["p_adjusted"], str(c["statement"]), clear, c["family"], c["method"]
    )


def _slices(
    section: Mapping[str, Any], rivals: Sequence[Model], baseline: str, told: settings.Report
) -> list[SlicePanel]:
    """The best models in each slice, and where the winner loses (all rivals and slices judged as one family)."""
    rivals = one_per_group(rivals)
    tables = {m.name: section["tables"][m.name] for m in rivals}
    metric, seed = str(section["headline"]), told.seed
    if not rivals or metric not in tables[rivals[0].name].column_names:
        return []  # an aggregate (AUROC) is no mean over rows
    if not any(c.startswith("slice:") for c in tables[rivals[0].name].column_names):
        return []
    found = slice_results(
        tables,
        metric,
        winner=rivals[0].name,
        confidence=float(section.get("confidence", 0.95)),
        resamples=told.resamples,
        test=str(section.get("test", "randomisation")),
        seed=seed,
    )
    lost = {(loss["slice"], loss["value"]): loss["to"] for loss in reversed(found["losses"])}
    drawn = {m.name for m in _drawn(rivals, baseline)}
    panels: dict[str, list[SliceRow]] = {}
    for row in found["slices"]:
        models = {name: _value(v) for name, v in row["models"].items() if name in drawn}
        to = lost.get((row["slice"], row["value"]), "")
        panels.setdefault(row["slice"], []).append(SliceRow(row["value"], row["n"], bool(row["small"]), models, to))
    return [SlicePanel(name, _in_order(rows)) for name, rows in panels.items() if len(rows) > 1]


def _in_order(rows: list[SliceRow]) -> list[SliceRow]:
    """Bands of numbers by their numbers; everything else as it came."""
    first = [re.match(r"(under )?(\d+)", row.value) for row in rows]
    if not all(first):
        return rows
    place = [(int(m[2]), m[1] is None) for m in first if m]
    return [row for _, row in sorted(zip(place, rows, strict=True), key=lambda pair: pair[0])]


def _drawn(rivals: Sequence[Model], name: str) -> list[Model]:
    """The best few, and the baseline in any case."""
    kept = list(rivals[:MOST_IN_SLICES])
    baseline = next((m for m in rivals if m.name.partition("#")[0] == name), None)
    if baseline is not None and baseline not in kept:
        kept[-1] = baseline
    return kept


def _reliability(section: Mapping[str, Any], rivals: Sequence[Model]) -> list[Reliability]:
    """Curves of the models that give different customers different probabilities."""
    curves = []
    for model in one_per_group(rivals):
        said = said_of(section["tables"][model.name], model)
        if said is None:
            continue
        label, p = said
        curve = reliability_curve(label, p)
        points = [tuple(map(float, row[:4])) + (int(row[4]),) for row in zip(*curve, strict=True)]
        counts, _ = np.histogram(p, bins=HISTOGRAM, range=(0, 1))
        expected = model.metrics.get("ece_if_calibrated", Value(math.nan))
        curves.append(Reliability(model.name, points, model.metrics["ece"].value, expected, counts.tolist()))  # type: ignore[arg-type]
    return curves


def _gains(section: Mapping[str, Any], models: Sequence[Model]) -> list[Gains]:
    """Gains and lift of the models that give different customers different probabilities, ceilings too."""
    found = []
    for model in one_per_group(models):
        said = said_of(section["tables"][model.name], model)
        if said is not None and 0 < said[0].sum() < len(said[0]):
            tenths = deciles(*said)
            found.append(Gains(model.name, tenths.gain.tolist(), tenths.lift.tolist()))
    return found


def _seed_row(name: str, found: Mapping[str, Any]) -> SeedRow:
    value = Value(found["mean"], found["low"], found["high"], int(found["n_users"]))
    variance = found["from_users"] + found["from_seeds"]
    share = found["from_seeds"] / variance if variance else 0.0
    ahead = {
        other: Value(d["mean"], d["low"], d["high"], int(d["n_users"]))
        for other, d in (found.get("ahead_of") or {}).items()
    }
    note = str(found.get("too_few") or "")
    return SeedRow(name, [str(s) for s in found["seeds"]], value, found["spread"], share, note, ahead)


def shown_metrics(b: Board) -> list[str]:
    """The figures of a board's table, headline first."""
    wanted = [m.format(k=b.k) for m in b.shown]
    have = b.models[0].metrics
    return [b.metric, *(m for m in wanted if m in have and m != b.metric)]
