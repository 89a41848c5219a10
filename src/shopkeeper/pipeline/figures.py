"""The figures on a run's MLflow page: learning curve, intervals, reliability; beside other models: ranking and slices.

They are for looking at; the report has the same figures with words, the Parquet tables have the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.metrics.classification_reliability import reliability_curve
from shopkeeper.pipeline.show import level

BLUE, ORANGE, GREY = "#0072b2", "#e69f00", "#767676"  # of Okabe and Ito (2008): told apart with any colour vision
MOST_SLICES = 24


def run_figures(
    metrics: Mapping[str, Any], tables: Mapping[str, pa.Table], history: Sequence[Mapping[str, float]], headline: str
) -> dict[str, Any]:
    """Figures of one run by file name: `intervals.png`, and where there is something to draw `learning_curve.png`
    and `reliability.png`. `history` has one row per epoch."""
    drawn = intervals(metrics)
    figures = {} if drawn is None else {"intervals.png": drawn}
    if len(history) > 1 and headline in history[-1]:
        figures["learning_curve.png"] = learning_curve(history, headline, str(metrics["model"]))
    if "test" in tables and "probability" in tables["test"].column_names:
        curve = reliability(tables["test"], str(metrics["model"]))
        if curve is not None:
            figures["reliability.png"] = curve
    return figures


def board_figures(board: Any, name: str) -> dict[str, Any]:
    """Figures that set a run beside the others of its task, from `evaluation.report.gather.board`."""
    if not board.models:
        return {}
    figures = {"comparison.png": comparison(board, name)}
    rows = [row for panel in board.slices for row in panel.rows if name in row.models]
    if rows:
        figures["slices.png"] = slices(board, name)
    return figures


def learning_curve(history: Sequence[Mapping[str, float]], metric: str, model: str) -> Any:
    """Training loss and the metric on validation, epoch by epoch; the best epoch is marked."""
    epochs = np.array([int(row["epoch"]) for row in history])
    figure, axes = _axes(2, height=5)
    for ax, key in zip(axes, ("loss", metric), strict=True):
        values = np.array([row.get(key, np.nan) for row in history], float)
        ax.plot(epochs, values, color=BLUE, marker="o", markersize=3)
        ax.set_ylabel({"loss": "training loss"}.get(key, f"{key} on validation"))
        if key == metric and not np.isnan(values).all():
            best = int(np.nanargmax(values))
            ax.plot(epochs[best], values[best], "o", color=ORANGE, markersize=9, zorder=0)
            ax.set_title(f"best: epoch {epochs[best]}, {values[best]:.4f}", loc="right", fontsize=9)
    axes[-1].set_xlabel("epoch")
    axes[0].set_title(f"{model}: learning curve")
    return figure


def intervals(metrics: Mapping[str, Any]) -> Any | None:
    """Every mean of a run with its interval, validation above test; None where none is defined."""
    names = [n for n, v in metrics["test"].items() if v.get("low") is not None and 0 <= v["value"] <= 1]
    if not names:
        return None
    figure, (ax,) = _axes(1, height=0.9 + 0.34 * len(names))
    for part, colour, shift in (("validation", ORANGE, -0.16), ("test", BLUE, 0.16)):
        entries = [metrics.get(part, {}).get(n) for n in names]
        rows = [(i + shift, e) for i, e in enumerate(entries) if e is not None and e.get("low") is not None]
        _whiskers(ax, rows, colour, f"{part} (n = {rows[0][1]['n']:,})" if rows else part)
    _rows(ax, names)
    ax.set_title(
        f"{metrics['model']} on {metrics['dataset']}, split {metrics['split']}: mean and {level(metrics)} interval"
    )
    ax.legend(frameon=False, fontsize=9)
    return figure


def reliability(table: pa.Table, model: str) -> Any | None:
    """Predicted against observed on test with intervals; None where everybody has the same probability."""
    p = np.asarray(table["probability"].cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    scored = ~np.isnan(p)
    if len(np.unique(p[scored])) < 2:
        return None
    mean, share, low, high, _ = reliability_curve(table["label"].to_numpy()[scored], p[scored])
    figure, (ax,) = _axes(1, width=5.5, height=5)
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    ax.errorbar(mean, share, yerr=[np.maximum(share - low, 0), np.maximum(high - share, 0)], fmt="o-", color=BLUE,
                capsize=2)  # fmt: skip
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability", ylabel="share that did")
    ax.set_title(f"{model}: reliability on {int(scored.sum()):,} customers of test")
    return figure


def comparison(board: Any, name: str) -> Any:
    """All models of a task on the headline metric; this one in colour."""
    figure, (ax,) = _axes(1, height=0.9 + 0.36 * len(board.models))
    for i, model in enumerate(board.models):
        v = model.metrics[board.metric]
        entry = {"value": v.value, "low": v.low, "high": v.high}
        _whiskers(ax, [(i, entry)], BLUE if model.name == name else GREY, None)
    _rows(ax, [m.label for m in board.models])
    better = "more" if board.higher_is_better else "less"
    ax.set_title(f"{board.metric} on {board.n:,} requests of test, {board.level} intervals ({better} is better)")
    return figure


def slices(board: Any, name: str) -> Any:
    """This model's headline metric in every slice, beside the best other model there."""
    picked = [(panel.name, row) for panel in board.slices for row in panel.rows if name in row.models][:MOST_SLICES]
    rival = next((m.name for m in board.rivals if m.name != name and m.name in picked[0][1].models), None)
    figure, (ax,) = _axes(1, height=0.9 + 0.32 * len(picked))
    for one, colour, shift in ((name, BLUE, -0.14), (rival, GREY, 0.14)):
        found = [(i + shift, row.models.get(one)) for i, (_, row) in enumerate(picked)]
        rows = [(y, {"value": v.value, "low": v.low, "high": v.high}) for y, v in found if v is not None]
        if one is not None:
            _whiskers(ax, rows, colour, one)
    _rows(ax, [f"{panel.replace('_', ' ')}: {row.value} (n = {row.n:,})" for panel, row in picked])
    ax.set_title(f"{board.metric} by slice, {board.level} intervals")
    ax.legend(frameon=False, fontsize=9)
    return figure


def _whiskers(ax: Any, rows: Sequence[tuple[float, Mapping[str, Any]]], colour: str, label: str | None) -> None:
    """A dot with its interval at each height."""
    y = [at for at, _ in rows]
    ax.plot([e["value"] for _, e in rows], y, "o", color=colour, markersize=5, label=label)
    for at, e in rows:
        if e["low"] is not None and e["high"] is not None:
            ax.plot([e["low"], e["high"]], [at, at], color=colour, linewidth=1.6)


def _rows(ax: Any, names: Sequence[str]) -> None:
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(axis="x", color="#dddddd", linewidth=0.8)
    ax.set_axisbelow(True)


def _axes(count: int, width: float = 8, height: float = 4) -> tuple[Any, list[Any]]:
    """A figure without a window system, its plots below each other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(count, 1, sharex=count > 1)))
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes
