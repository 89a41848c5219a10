"""Whole columns piece by piece: the size of a piece changes no byte, and counts are those of a plain loop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from shopkeeper.arrange import order, pieces, prepare, writer
from shopkeeper.arrange.order import Arranged
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.files import sha256_file
from shopkeeper.ingest import log
from shopkeeper.splits.steps import steps_per_user

TOLD = {
    "name": "log", "raw": {"folder": "", "files": ["log.csv"]}, "reader": {"format": "csv"},
    "columns": {"user_id": "who", "item_id": "what", "timestamp": "when", "quantity": "n"},
    "timestamp": {"unit": "s"}, "event_type": "purchase", "filters": {"k_core": 2}, "max_rejected_share": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("in_time_order", [True, False])
def test_the_size_of_a_piece_changes_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_time_order: bool):
    rng = np.random.default_rng(3)
    rows = [(f"u{rng.integers(9)}", f"i{rng.integers(12)}", 1_700_000_000 + 60 * k, k % 3 or "") for k in range(101)]
    if not in_time_order:
        rng.shuffle(rows)
    (tmp_path / "log.csv").write_text("who,what,when,n\n" + "".join(f"{a},{b},{c},{n}\n" for a, b, c, n in rows))
    whole = Prepared.open(prepare_dataset(TOLD, tmp_path, tmp_path / "whole", progress=False))
    assert whole.manifest["n_events"] > 80
    monkeypatch.setattr(pieces, "PIECE", 7)
    cut = Prepared.open(prepare_dataset(TOLD, tmp_path, tmp_path / "cut", progress=False))
    assert cut.fingerprint == whole.fingerprint
    assert cut.manifest["event_types"] == whole.manifest["event_types"]


def test_what_is_done_one_after_the_other_where_a_log_is_large_changes_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lines = [f"u{k % 5},i{k % 7},{1_700_000_000 + 60 * k},1\n" for k in range(40)]
    (tmp_path / "log.csv").write_text("who,what,when,n\n" + "".join(lines))
    small = Prepared.open(prepare_dataset(TOLD, tmp_path, tmp_path / "small", progress=False))
    there: list[bool] = []
    write_arrays = writer.write_arrays

    def look(folder: Path, arranged: Arranged) -> None:
        there.append((folder / "events.parquet").is_file())
        write_arrays(folder, arranged)

    monkeypatch.setattr(writer, "write_arrays", look)
    for module in (log, order, prepare):
        monkeypatch.setattr(module, "BESIDE", 39)
    large = Prepared.open(prepare_dataset(TOLD, tmp_path, tmp_path / "large", progress=False))
    assert there == [True]
    assert large.fingerprint == small.fingerprint


@pytest.mark.parametrize("has_orders", [True, False])
def test_steps_of_each_user_are_counted_with_users_who_have_none(has_orders: bool):
    user = np.array([2, 2, 2, 4, 4, 5], np.int32)  # 1, 3 and 6 have no rows
    offsets = np.array([0, 0, 3, 3, 5, 6, 6])
    chosen = np.array([True, True, False, False, False, True])
    order = np.array([7, 7, 8, 9, 9, 3], np.int32) if has_orders else None
    found = steps_per_user(chosen, user, order, offsets)
    assert found.tolist() == [0, 1 if has_orders else 2, 0, 0, 1, 0]


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("extra", [{}, {"note": "note"}])
def test_how_many_rows_are_encoded_at_once_changes_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: float, extra: dict[str, str]
):
    rng, n = np.random.default_rng(3), 90_000
    texts = {
        "user_id": ["ann", "bob"],
        "item_id": [f"{i:040d}" for i in range(30_000)],
        "order_id": [f"o{i}" for i in range(5_000)],
        "file:note": [f"{i:0{i % 99}d}" for i in range(n)],
    }
    columns = {
        "item": rng.integers(1, 30_001, n).astype(np.int32),
        "event_type": np.ones(n, np.int8),
        "timestamp": np.sort(rng.integers(0, 10**15, n)),
        "price": np.where(rng.random(n) < missing, np.nan, rng.random(n)),
        "order": np.where(rng.random(n) < missing, 0, rng.integers(1, 5_000, n)).astype(np.int32),
        "file:note": np.arange(1, n + 1, dtype=np.int32),
    }
    names = {name: pa.array(values) for name, values in texts.items()}
    arranged = Arranged(np.array([0, n // 3, n]), columns, names, np.arange(n))
    writer.write_events(tmp_path / "events.parquet", arranged, None, extra)
    ours = sha256_file(tmp_path / "events.parquet")
    monkeypatch.setattr(writer, "BATCH_ROWS", 1024)  # Arrow's own
    writer.write_events(tmp_path / "events.parquet", arranged, None, extra)
    assert sha256_file(tmp_path / "events.parquet") == ours
