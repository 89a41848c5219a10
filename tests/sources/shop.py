"""A source of conf/source over a hand-made export, prepared; and what is in it, as plain values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from shopkeeper import configuration
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.schema import EVENT_TYPES
from shopkeeper.timeline import iso


def config(source: str, files: dict[str, Any] | list[str], **changes: Any) -> dict[str, Any]:
    """A dataset that points to a source; `files` are its files, by place in `logs` where it has several kinds."""
    path = configuration.find("source", source)
    assert path is not None
    told = yaml.safe_load(path.read_text())
    return told | {"name": source, "raw": {"folder": "", "files": list(files)}} | changes


def lines(rows: list[dict[str, Any]]) -> str:
    """Rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def prepared(folder: Path, source: str, files: dict[str, str], **changes: Any) -> Prepared:
    """The files (name -> text) written and prepared as the source says."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    told = config(source, files, **changes)
    if "logs" in told:
        told["raw"].pop("files")
    return Prepared.open(prepare_dataset(told, folder, folder / "out", progress=False))


def events(p: Prepared) -> list[tuple[Any, ...]]:
    """Customer, item, kind, instant, quantity and money of each event (0 where unknown), by instant, then item."""
    table, e = p.table("events.parquet"), p.events
    users = p.users["user_id"].to_pylist()
    items = p.items["item_id"].to_pylist()
    rows = []
    for i in range(len(e.item)):
        quantity = np.nan if e.quantity is None else float(e.quantity[i])
        price = np.nan if e.price is None else float(e.price[i])
        when = "" if e.timestamp is None else iso(e.timestamp[i])
        units = 1.0 if np.isnan(quantity) else quantity
        rows.append((
            users[int(p.event_user[i]) - 1], items[int(e.item[i]) - 1], EVENT_TYPES[int(e.event_type[i]) - 1], when,
            0.0 if np.isnan(quantity) else quantity, 0.0 if np.isnan(price) else round(price * units, 4),
        ))  # fmt: skip
    assert table.num_rows == len(rows)
    return sorted(rows, key=lambda row: (row[3], row[1], row[2]))
