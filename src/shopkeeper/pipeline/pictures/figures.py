"""The figures on a run's MLflow page: learning curve, intervals, reliability; beside other models: ranking and slices.

As SVG, and for looking at; the report has the same figures with words, the Parquet tables have the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.evaluation.compare import LOWER_IS_BETTER
from shopkeeper.metrics.classification_reliability import reliability_curve
from shopkeeper.pipeline.pictures import svg
from shopkeeper.pipeline.pictures.svg import Panel
from shopkeeper.pipeline.show import level

BLUE, ORANGE, GREY = "#0072b2", "#e69f00", "#767676"  # of Okabe and Ito (2008): told apart with any colour vision
MOST_SLICES = 24


def run_figures(
    metrics: Mapping[str, Any], tables: Mapping[str, pa.Table], history: Sequence[Mapping[str, float]], headline: str
) -> dict[str, str]:
    """Figures of one run by file name: `intervals.svg`, and where there is something to draw `learning_curve.svg`
    and `reliability.svg`. `history` has one row per epoch."""
    drawn = intervals(metrics)
    figures = {} if drawn is None else {"intervals.svg": drawn}
    if len(history) > 1 and headline in history[-1]:
        figures["learning_curve.svg"] = learning_curve(history, headline, str(metrics["model"]))
    if "test" in tables and "probability" in tables["test"].column_names:
        curve = reliability(tables["test"], str(metrics["model"]))
        if curve is not None:
            figures["reliability.svg"] = curve
    return figures


def board_figures(board: Any, name: str) -> dict[str, str]:
    """Figures that set a run beside the others of its task, from `evaluation.report.gather.board`."""
    if not board.models:
        return {}
    figures = {"comparison.svg": comparison(board, name)}
    rows = [row for panel in board.slices for row in panel.rows if name in row.models]
    if rows:
        figures["slices.svg"] = slices(board, name)
    return figures


def learning_curve(history: Sequence[Mapping[str, float]], metric: str, model: str) -> str:
    """Training loss, where it is known, and the metric on validation, epoch by epoch; the best epoch is marked."""
    epochs = [int(row["epoch"]) for row in history]
    panels: list[Panel] = []
    for key in (("loss",) if "loss" in history[-1] else ()) + (metric,):
        values = np.array([row.get(key, np.nan) for row in history], float)
        panel = Panel(svg.span(epochs), svg.span(values), 170, "" if panels else f"{model}: learning curve", width=760)
        panel.y_name = {"loss": "training loss"}.get(key, f"{key} on validation")
        if key == metric and not np.isnan(values).all():
            best = int(np.nanargmin(values) if metric in LOWER_IS_BETTER else np.nanargmax(values))
            panel.dots([epochs[best]], [values[best]], ORANGE, 7)
            panel.aside = f"best: epoch {epochs[best]}, {values[best]:.4f}"
        panel.line(epochs, values, BLUE)
        panel.dots(epochs, values, BLUE, 2.5)
        panels.append(panel)
    panels[-1].x_name = "epoch"
    return svg.picture(*panels)


def intervals(metrics: Mapping[str, Any]) -> str | None:
    """Every mean of a run with its interval, validation above test; None where none is defined."""
    names = [n for n, v in metrics["test"].items() if v.get("low") is not None and 0 <= v["value"] <= 1]
    if not names:
        return None
    whiskers, legend = [], []
    for part, colour, shift in (("validation", ORANGE, -0.16), ("test", BLUE, 0.16)):
        entries = [metrics.get(part, {}).get(n) for n in names]
        rows = [(i + shift, e) for i, e in enumerate(entries) if e is not None and e.get("low") is not None]
        whiskers += [(y, e, colour) for y, e in rows]
        legend.append((colour, f"{part} (n = {rows[0][1]['n']:,})" if rows else part))
    title = f"{metrics['model']} on {metrics['dataset']}, split {metrics['split']}: mean and {level(metrics)} interval"
    return _rows(title, names, whiskers, legend)


def reliability(table: pa.Table, model: str) -> str | None:
    """Predicted against observed on test with intervals; None where everybody has the same probability."""
    p = np.asarray(table["probability"].cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    scored = ~np.isnan(p)
    if len(np.unique(p[scored])) < 2:
        return None
    mean, share, low, high, _ = reliability_curve(table["label"].to_numpy()[scored], p[scored])
    panel = Panel((0.0, 1.0), (0.0, 1.0), 420, width=500, x_name="predicted probability", y_name="share that did")
    panel.title = f"{model}: reliability on {int(scored.sum()):,} customers of test"
    panel.line([0, 1], [0, 1], GREY, 1)
    for x, y, a, b in zip(mean, share, low, high, strict=True):
        panel.line([x, x], [min(a, y), max(b, y)], BLUE)
    panel.line(mean, share, BLUE)
    panel.dots(mean, share, BLUE)
    return svg.picture(panel)


def comparison(board: Any, name: str) -> str:
    """All models of a task on the headline metric; this one in colour."""
    whiskers = []
    for i, model in enumerate(board.models):
        v = model.metrics[board.metric]
        entry = {"value": v.value, "low": v.low, "high": v.high}
        whiskers.append((i, entry, BLUE if model.name == name else GREY))
    better = "more" if board.higher_is_better else "less"
    title = f"{board.metric} on {board.n:,} requests of test, {board.level} intervals ({better} is better)"
    return _rows(title, [m.label for m in board.models], whiskers, [])


def slices(board: Any, name: str) -> str:
    """This model's headline metric in every slice, beside the best other model there."""
    picked = [(panel.name, row) for panel in board.slices for row in panel.rows if name in row.models][:MOST_SLICES]
    rival = next((m.name for m in board.rivals if m.name != name and m.name in picked[0][1].models), None)
    whiskers, legend = [], []
    for one, colour, shift in ((name, BLUE, -0.14), (rival, GREY, 0.14)):
        if one is None:
            continue
        found = [(i + shift, row.models.get(one)) for i, (_, row) in enumerate(picked)]
        whiskers += [(y, {"value": v.value, "low": v.low, "high": v.high}, colour) for y, v in found if v is not None]
        legend.append((colour, one))
    names = [f"{panel.replace('_', ' ')}: {row.value} (n = {row.n:,})" for panel, row in picked]
    return _rows(f"{board.metric} by slice, {board.level} intervals", names, whiskers, legend)


def _rows(
    title: str,
    names: Sequence[str],
    whiskers: Sequence[tuple[float, Mapping[str, Any], str]],
    legend: list[tuple[str, str]],
) -> str:
    """Dots with their intervals (height, entry, colour) beside names."""
    ends = [float(e[k]) for _, e, _ in whiskers for k in ("value", "low", "high") if e[k] is not None]
    panel = Panel(svg.span(ends), (len(names) - 0.5, -0.5), 24 + 27 * len(names), title, rows=names, legend=legend)
    for y, e, colour in whiskers:
        if e["low"] is not None and e["high"] is not None:
            panel.line([e["low"], e["high"]], [y, y], colour)
        if e["value"] is not None:
            panel.dots([e["value"]], [y], colour)
    return svg.picture(panel)
