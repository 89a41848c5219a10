"""What `dvc plots` draws of a comparison, for any two revisions beside each other: the page has the same for one."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shopkeeper.files import read_json

if TYPE_CHECKING:
    from shopkeeper.evaluation.report.figures import Board

CURVES, RELIABILITY, SLICES = "curves.csv", "reliability.csv", "slices.csv"


def write_plots(folder: Path, sections: Mapping[str, Mapping[str, Any]], boards: Sequence[Board]) -> None:
    """Learning curves of networks on validation, predicted against observed, and the headline by slice, as CSV."""
    _write(folder / CURVES, ("task", "model", "epoch", "value", "loss"), (
        (task, name, row["epoch"], row[section["headline"]], row.get("loss"))
        for task, section in sections.items() for name, run in section["runs"].items()
        for row in _history(run) if section["headline"] in row
    ))  # fmt: skip
    _write(
        folder / RELIABILITY,
        ("task", "model", "predicted", "observed", "low", "high", "n"),
        ((board.task, one.model, *point) for board in boards for one in board.reliability for point in one.points),
    )
    _write(folder / SLICES, ("task", "model", "slice", "value", "low", "high", "n"), (
        (board.task, name, f"{panel.name.replace('_', ' ')}: {row.value}", v.value, v.low, v.high, row.n)
        for board in boards for panel in board.slices for row in panel.rows for name, v in row.models.items()
    ))  # fmt: skip


def _history(run: Path) -> list[Mapping[str, Any]]:
    """A row per epoch of a network; none of other models."""
    file = run / "training.json"
    rows = read_json(file).get("history") or [] if file.is_file() else []
    return [{"epoch": n, **row} for n, row in enumerate(rows, start=1)]


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(header)
        table.writerows(rows)
