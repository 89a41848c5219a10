"""The pages about customers: what drives a score, how the base rate stands over cutoffs, then against now."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from shopkeeper.evaluation.report.charts import number, scale, span, track
from shopkeeper.evaluation.report.decide import day
from shopkeeper.evaluation.report.figures import Board, Value, label_of_model
from shopkeeper.evaluation.report.names import label_of
from shopkeeper.evaluation.report.templating import Section, fill
from shopkeeper.models.about import PROBABILITIES

DIRECTION = {1: "the more, the higher", -1: "the more, the lower", 0: "now this, now that"}
PARTS = {"learned from": "learned from", "validation": "settings chosen on", "test": "judged on"}
SAME = 0.55  # AUROC up to which then and now are as good as the same


def drives(b: Board) -> Section | None:
    """What moves the scores of the leading model."""
    found = (b.now or {}).get("drivers")
    if not found or not found["features"]:
        return None
    model, features = label_of_model(str((b.now or {})["model"])), found["features"]
    top = features[0]
    lead = (
        f"How far each feature moves the score of {model}, in {found['unit']}: the mean over {found['customers']:,} "
        f"customers of today, whichever way. {_plain(top['feature']).capitalize()} moves it most, with "
        f"{top['share']:.0%} of all. It says what the model goes by, not what would change a customer."
    )
    axis = span([Value(f["moves"]) for f in features])
    rows = [
        {
            "name": _plain(f["feature"]),
            "track": track([(0, Value(f["moves"]))], axis, 18, names=[_plain(f["feature"])]),
            "cells": [number(f["moves"]), f"{f['share']:.0%}", DIRECTION[f["direction"]]],
        }
        for f in features
    ]
    head = [f"mean move, {found['unit']}", "share", "direction"]
    content = fill(
        "rows.html",
        label=f"What drives it: {b.words.models}",
        first="Feature",
        head=head,
        rows=rows,
        scale=scale(axis),
        words=(2,),
    )
    return Section(f"drives-{b.task}", "What drives it", "What drives the score?", lead, content)


def over_cutoffs(b: Board) -> Section | None:
    """The base rate at every cutoff whose window is over, and how well the leading model did where it was judged."""
    now = b.now or {}
    rates = now.get("rates") or []
    if len(rates) < 2:
        return None
    shares = now["answers"] == PROBABILITIES
    values = [Value(r["rate"], r["low"], r["high"], r["n"]) for r in rates]
    axis = span(values, zero=True)
    best, metric = b.rivals[0], "auroc" if "auroc" in b.rivals[0].metrics else b.metric
    judged = {"validation": b.before.get(metric), "test": best.metrics.get(metric)}
    rows = [
        {
            "name": day(r["cutoff"], b.zone),
            "track": track([(0, v)], axis, 18, names=[day(r["cutoff"], b.zone)]),
            "cells": [
                f"{v.value:.1%}" if shares else number(v.value, 2),
                f"{v.n:,}",
                PARTS.get(r["part"], r["part"]),
                "–"
                if (j := judged.get(r["part"])) is None
                else f"{number(j.value)} ({number(j.low)} to {number(j.high)})",
            ],
        }
        for r, v in zip(rates, values, strict=True)
    ]
    *earlier, last = values
    low, high = min(v.value for v in earlier), max(v.value for v in earlier)
    what, between = f"share that {b.words.did or 'did it'}" if shares else "mean", _range(low, high, shares)
    where = (
        f"within the range of those before ({between})."
        if low <= last.value <= high
        else f"outside of the range of those before ({between}): the shop, or its season, is another than the one that "
        "was learned from."
    )
    lead = (
        f"The {what} at each cutoff, of customers asked about then. The last one lies {where} {label_of(metric)} is "
        f"{best.label}’s, where it had not looked: on later cutoffs than it learned from."
    )
    head = ["share" if shares else "mean", "customers", "used for", label_of(metric)]
    content = fill(
        "rows.html",
        label=f"Over cutoffs: {b.words.models}",
        first="Cutoff",
        head=head,
        rows=rows,
        scale=scale(axis),
        words=(2,),
    )
    return Section(f"cutoffs-{b.task}", "Over cutoffs", "Is it stable over cutoffs?", lead, content)


def drift(b: Board) -> Section | None:
    """Whether the customers of today are like those that were learned from."""
    found = (b.now or {}).get("drift")
    if not found:
        return None
    features, apart = found["features"], found["told_apart"]
    axis = span([Value(f["psi"]) for f in features])
    rows = [
        {
            "name": _plain(f["feature"]),
            "track": track([(0 if f["moved"] else 7, Value(f["psi"]))], axis, 18, names=[_plain(f["feature"])]),
            "cells": [number(f["psi"]), number(f["by_chance"]), _median(f, "then"), _median(f, "now")],
        }
        for f in features
    ]
    lead = (
        f"Customers of {day((b.now or {})['as_of'], b.zone)} ({found['now']:,}) against those that were learned from "
        f"({found['rows']:,} rows, {day(found['from'], b.zone)} to {day(found['to'], b.zone)}). {_told_apart(apart)} "
        f"By the population stability index {found['moved']} of {found['of']} features have moved more than chance "
        f"explains in one case of twenty; here are the {len(features)} that moved most."
    )
    head = ["PSI", "by chance", "median then", "median now"]
    content = fill(
        "rows.html",
        label=f"Drift: {b.words.models}",
        first="Feature",
        head=head,
        rows=rows,
        scale=scale(axis),
        words=(),
    )
    return Section(f"drift-{b.task}", "Drift", "Is today like what was learned from?", lead, content)


def _told_apart(apart: Mapping[str, Any] | None) -> str:
    if apart is None:
        return "They are too few to be told apart by a classifier."
    said = f"AUROC {number(apart['auroc'])}, {number(apart['low'])} to {number(apart['high'])}"
    if apart["low"] <= 0.5:
        return f"A classifier cannot tell the two apart ({said})."
    by = ", ".join(_plain(name) for name in apart["by"])
    if apart["auroc"] <= SAME:
        return f"A classifier tells the two apart hardly better than chance ({said})."
    return f"A classifier tells the two apart ({said}), most by {by}: what was learned may hold less well today."


def _plain(feature: str) -> str:
    return feature.replace("_", " ")


def _median(f: Mapping[str, Any], when: str) -> str:
    value, unknown = f[when], f[f"unknown_{when}"]
    text = "–" if math.isnan(value) else f"{value:,.4g}"
    return f"{text}, {unknown:.0%} unknown" if unknown >= 0.01 else text


def _range(low: float, high: float, shares: bool) -> str:
    return f"{low:.1%} to {high:.1%}" if shares else f"{number(low, 2)} to {number(high, 2)}"
