"""The files of `dvc plots`: learning curves, reliability and slices, each row what the report and the run hold."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from shopkeeper.evaluation.report.figures import Board, Reliability, SlicePanel, SliceRow, Value
from shopkeeper.files import write_json
from shopkeeper.pipeline.comparing.plotted import write_plots


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_epoch_bin_and_slice_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    history = [{"loss": 3.0, "ndcg@10": 0.1}, {"loss": 2.0}, {"loss": 1.5, "ndcg@10": 0.2}]
    write_json(tmp_path / "net/training.json", {"history": history})
    sections: dict[str, Any] = {
        "next_item": {"headline": "ndcg@10", "runs": {"net": tmp_path / "net", "counts": tmp_path / "counts"}}
    }
    point = Value(0.3, 0.2, 0.4)
    row = SliceRow("many", 7, False, {"net": point})
    bins = [(0.1, 0.2, 0.05, 0.4, 10), (0.9, 0.8, 0.6, 0.95, 11)]
    board = Board("churn", "auroc", True, [], slices=[SlicePanel("history_length", [row])],
                  reliability=[Reliability("net", bins, 0.1, point, [])])  # fmt: skip
    write_plots(tmp_path, sections, [board])
    assert [(r["model"], r["epoch"], r["value"], r["loss"]) for r in rows(tmp_path / "curves.csv")] == [
        ("net", "1", "0.1", "3.0"), ("net", "3", "0.2", "1.5"),
    ]  # fmt: skip
    assert [(r["task"], r["predicted"], r["observed"], r["n"]) for r in rows(tmp_path / "reliability.csv")] == [
        ("churn", "0.1", "0.2", "10"), ("churn", "0.9", "0.8", "11"),
    ]  # fmt: skip
    (one,) = rows(tmp_path / "slices.csv")
    assert one == {"task": "churn", "model": "net", "slice": "history length: many", "value": "0.3", "low": "0.2",
                   "high": "0.4", "n": "7"}  # fmt: skip
