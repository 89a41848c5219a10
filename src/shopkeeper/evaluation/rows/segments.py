"""Segments of customers, as the verb `segments` wrote them, as slices of a table: only what was known before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.errors import UserError
from shopkeeper.evaluation.table import SLICE, metadata_of
from shopkeeper.files import read_json, read_parquet
from shopkeeper.hashing import check_hashes, check_seal
from shopkeeper.timeline import instant, iso

SLICED = ("lifecycle", "value_tier", "cluster")  # columns of segments.parquet
NAME = "segment_"
NO_SEGMENT = "unknown"


def read_segments(folder: Path, dataset: Any) -> tuple[int, pa.Table]:
    """The instant (µs) of a folder of segments, and its table.

    Raises:
        UserError: no folder of segments, of another dataset, or edited.
    """
    again = "run `shopkeeper segments` again"
    if not (folder / "manifest.json").is_file():
        raise UserError(f"{folder} holds no segments (no manifest.json); give a folder of `shopkeeper segments`")
    manifest = read_json(folder / "manifest.json")
    if not isinstance(manifest, dict) or manifest.get("kind") != "segments":
        raise UserError(f"{folder} holds no segments; give a folder of `shopkeeper segments`")
    check_seal(manifest, folder / "manifest.json", again, needed=True)
    check_hashes(folder, manifest.get("files") or {}, again)
    if manifest["dataset"] != dataset:
        raise UserError(f"{folder} holds segments of dataset={manifest['dataset']}, not {dataset}; give its own")
    if manifest["as_of"] is None:
        raise UserError(f"{folder} holds no segments: dataset={dataset} has no times")
    return instant(manifest["as_of"], "as_of"), read_parquet(folder / "segments.parquet")


def with_segments(table: pa.Table, folder: Path) -> pa.Table:
    """The table with a slice `segment_<name>` for each segmentation; who has no segment is "unknown".

    Raises:
        UserError: no folder of segments, of another dataset, edited, or as of later than what is asked here: such
            segments would know what came after.
    """
    dataset = metadata_of(table).get("dataset")
    as_of, known = read_segments(folder, dataset)
    first = pc.min(table["instant"].cast(pa.int64())).as_py()
    if first is None:
        raise UserError(f"segments are as of an instant, and dataset={dataset} has only an order; leave segments out")
    if as_of > first:
        raise UserError(
            f"{folder} knows customers until {iso(as_of)}, and the first question here is asked at {iso(first)}: that "
            f"would tell what came later; run `shopkeeper segments at={iso(first)}` and give its folder"
        )
    row = pc.index_in(table["user_id"], value_set=known["user_id"].combine_chunks())
    for name in (n for n in SLICED if n in known.column_names):
        values = pc.fill_null(known[name].combine_chunks().take(row.combine_chunks()), NO_SEGMENT)
        table = table.append_column(f"{SLICE}{NAME}{name}", values)
    return table
