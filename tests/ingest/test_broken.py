"""Every broken input gives a correct load or one line that names file, place and remedy: never a traceback."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from broken import CASES, Case

from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError

BASE = {
    "name": "shop",
    "reader": {"format": "csv"},
    "columns": {"user_id": "user", "item_id": "item", "timestamp": "time", "price": "price"},
    "timestamp": {"unit": "s"},
    "event_type": "purchase",
}


def load(case: Case, tmp_path: Path) -> Prepared:
    (tmp_path / case.file).write_bytes(case.data)
    config = {**BASE, "raw": {"folder": "", "files": [case.file]}, **case.config}
    return Prepared.open(prepare_dataset(config, tmp_path, tmp_path / "out", progress=False))


def test_there_are_at_least_sixty_broken_inputs():
    assert len(CASES) >= 60
    assert len({c.name for c in CASES}) == len(CASES)


@pytest.mark.parametrize("chunk", [1 << 23, 16], ids=["whole", "in tiny chunks"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_a_broken_input_loads_correctly_or_says_what_to_do(
    case: Case, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shopkeeper.ingest.chunks.CHUNK_BYTES", chunk)
    monkeypatch.setattr("shopkeeper.ingest.readers.parquet.BATCH_ROWS", chunk // 8)
    monkeypatch.setattr("os.fsync", lambda fd: None)  # hundreds of folders: not a test of the disk
    if case.error:
        with pytest.raises(UserError, match=case.error) as caught:
            load(case, tmp_path)
        assert "\n" not in str(caught.value)
        assert re.search(r"log\.|reader\.|timestamp\.|dataset 'shop'|column 'user'", str(caught.value))
        assert not (tmp_path / "out").exists()
        return
    p = load(case, tmp_path)
    events = pq.read_table(p.path / "events.parquet")
    assert list(zip(events["user_id"].to_pylist(), events["item_id"].to_pylist(), strict=True)) == case.kept
    rejected = pq.read_table(p.path / "rejected.parquet")
    assert list(zip(rejected["row"].to_pylist(), rejected["reason"].to_pylist(), strict=True)) == case.rejected
    if case.times is not None:
        assert [t / 1e6 for t in p.events.timestamp.tolist()] == case.times
