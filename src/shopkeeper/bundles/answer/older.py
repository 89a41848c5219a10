"""Bundles of earlier formats, as this version has them.

3 (today): one manifest and one vocabulary for both families
2: recommenders kept their ids in `items.parquet`; customer models kept the rules of histories in `vocabulary.json`
1: customer models wanted finished features
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shopkeeper.bundles.answer.histories import VOCABULARY
from shopkeeper.bundles.answer.integrity import AGAIN
from shopkeeper.errors import UserError
from shopkeeper.programs.base import GRAPH


def as_today(path: Path, manifest: dict[str, Any], content: dict[str, bytes]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Manifest and vocabulary of a bundle's checked files; a `UserError` where they cannot be had."""
    version, kind = manifest["format_version"], manifest["kind"]
    if kind == "customer" and version < 2:
        raise UserError(
            f"{path} has bundle format 1, whose customer models wanted finished features; {AGAIN} "
            f"to have it answer from events"
        )
    wanted = "items.parquet" if kind == "recommender" and version < 3 else VOCABULARY
    if wanted not in content:
        raise UserError(f"{path / wanted} is not listed in the manifest of this {kind}; {AGAIN}")
    if version >= 3:
        return manifest, json.loads(content[VOCABULARY])
    if kind == "customer":
        words = json.loads(content[VOCABULARY])
        rules = {"max_length": None, "event_types": None, "needs_time": True, "needs_instant": True}
        rules |= {name: words[name] for name in ("usual_type", "time_zone")}
        return manifest | {"history": rules}, words
    scorer = manifest.get("scorer")
    manifest = manifest | {"scorer": GRAPH if scorer is None else scorer}
    return manifest, _item_table(path, content["items.parquet"])


def _item_table(path: Path, content: bytes) -> dict[str, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UserError(
            f"{path} is of an older format, which needs PyArrow: `pip install pyarrow`, or {AGAIN}"
        ) from None
    table = pq.read_table(pa.BufferReader(content), columns=["item", "item_id", "known"])
    ids = table["item_id"].to_pylist()
    if table["item"].to_pylist() != list(range(1, len(ids) + 1)):
        raise UserError(f"{path / 'items.parquet'} does not fit the model: ids are not 1..n_items; {AGAIN}")
    return {"item_ids": ids, "known": table["known"].to_pylist(), "channels": [], "columns": []}
