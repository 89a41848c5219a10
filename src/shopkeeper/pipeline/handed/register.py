"""An exported bundle becomes a version in MLflow's registry, with the rows that it was judged on beside it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from shopkeeper.evaluation.table import write_table
from shopkeeper.pipeline.comparing.choose import headline_of
from shopkeeper.pipeline.runs import RunFolder
from shopkeeper.tracking.registry import log_bundle
from shopkeeper.tracking.settings import Tracking

LEFT_OUT = ("user_id", "targets", "ranks", "top_items", "top_scores")  # what nobody compares, and whom it is about


def register(tracking: Tracking, run: RunFolder, bundle: Path) -> None:
    """Log the bundle with its run: `<dataset>-<task>` has it as challenger from now on. Without tracking nothing."""
    if tracking.off:
        return
    golden = json.loads((bundle / "golden.json").read_text(encoding="utf-8"))["requests"]
    shown = next((one for one in golden if 0 < len(one["history"]) < 5), golden[-1])
    example = {key: value for key, value in shown.items() if key != "expected"}
    tags = {**{key: run.metrics[key] for key in ("model", "task", "dataset", "seed")},
            "headline": headline_of(run), "target_hash": run.metrics.get("target_hash")}  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        rows = Path(place) / "rows.parquet"
        write_table(nameless(run.table("test")), rows)
        name = f"{run.metrics['dataset']}-{run.task}"
        log_bundle(tracking, bundle, rows, name, run.manifest.get("mlflow_run"), tags, example)


def nameless(table: pa.Table) -> pa.Table:
    """The table's figures, with another number in place of each customer's, and nothing of what they took."""
    table = table.drop_columns([name for name in LEFT_OUT if name in table.column_names])
    _, number = np.unique(table["user"].to_numpy(), return_inverse=True)
    other = np.random.default_rng(0).permutation(int(number.max(initial=0)) + 1)[number] + 1
    place = table.column_names.index("user")
    return table.set_column(place, table.schema.field(place), pa.array(other, table.schema.field(place).type))
