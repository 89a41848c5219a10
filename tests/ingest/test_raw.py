"""What a dataset was prepared from is part of it: a raw file replaced, added, corrected or deleted is noticed."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from shopkeeper.arrange import prepare as prepare_module
from shopkeeper.arrange.extend import extend_dataset
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.errors import UserError
from shopkeeper.files import read_json
from shopkeeper.ingest import log as log_module
from shopkeeper.pipeline.preparing.data import prepare_data
from shopkeeper.pipeline.told import Prepare, settings

CONFIG: dict[str, Any] = {
    "name": "shop",
    "raw": {"folder": "", "files": ["day-*.csv"]},
    "reader": {"format": "csv"},
    "columns": {"user_id": "user", "item_id": "item", "timestamp": "time", "price": "price"},
    "timestamp": {"unit": "s"},
    "event_type": "purchase",
    "items": {"file": "items.csv", "id": "id", "id_map": {"file": "map.txt"}},
    "users": {"file": "users.csv", "id": "user"},
    "erasure": {"file": "erased.csv"},
    "filters": {},
    "max_rejected_share": 0.1,
    "target_events": ["purchase"],
}
DAY = "user,item,time,price\n" + "".join(f"u{i % 3},i{i % 4},{1_600_000_000 + i},20.0\n" for i in range(12))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "day-1.csv").write_text(DAY)
    (folder / "items.csv").write_text("id,colour\nx0,red\nx1,blue\n")
    (folder / "map.txt").write_text("i0 x0\ni1 x1\n")
    (folder / "users.csv").write_text("user,town\nu0,Ulm\n")
    (folder / "erased.csv").write_text("user_id\nnobody\n")
    return folder


def config(raw: Path, house: Path | None = None, extend: Path | None = None, **changed: Any) -> Prepare:
    """What `prepare` is told of the shop in `raw`; its prepared data lie beside that, or in `house`."""
    place = (house or raw).parent / "prepared"
    return settings(
        {
            "dataset": {**CONFIG, **changed},
            "split": {"name": "leave_one_out", "protocol": "published"},
            "task": {"name": "next_item", "headline": "ndcg@10"},
            "paths": {"raw": str(raw), "prepared": str(place)},
            "progress": False,
            **({"extend": str(extend)} if extend else {}),
        },
        Prepare,
    )


def test_the_manifest_names_every_file_that_was_read_with_size_and_hash(raw: Path):
    files = prepare_data(config(raw)).manifest["raw_files"]
    assert [(f["role"], f["name"]) for f in files] == [
        ("log", "day-1.csv"), ("items", "items.csv"), ("items", "map.txt"), ("users", "users.csv"),
        ("erasure", "erased.csv"),
    ]  # fmt: skip
    assert [f["bytes"] for f in files] == [(raw / f["name"]).stat().st_size for f in files]
    assert all(f["hash"].startswith("blake3:") for f in files)


def mend_price(raw: Path) -> None:
    old = (raw / "day-1.csv").stat()
    (raw / "day-1.csv").write_text(DAY.replace("20.0", "90.0"))  # as long as before, and as old as before
    os.utime(raw / "day-1.csv", ns=(old.st_atime_ns, old.st_mtime_ns))


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "replaced": (lambda raw: (raw / "day-1.csv").write_text(DAY + "u9,i9,1600000099,1.0\n"), "changed: day-1.csv"),
    "corrected at equal length": (mend_price, "changed: day-1.csv"),
    "a new file of the pattern": (lambda raw: shutil.copy(raw / "day-1.csv", raw / "day-2.csv"), "new: day-2.csv"),
    "items": (lambda raw: (raw / "items.csv").write_text("id,colour\nx0,pink\n"), "changed: items.csv"),
    "map of ids": (lambda raw: (raw / "map.txt").write_text("i0 x1\ni1 x0\n"), "changed: map.txt"),
    "users": (lambda raw: (raw / "users.csv").write_text("user,town\nu0,Bonn\n"), "changed: users.csv"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_raw_file_is_said_and_read(raw: Path, what: str, caplog: pytest.LogCaptureFixture):
    before = prepare_data(config(raw))
    change, said = CHANGES[what]
    change(raw)
    with caplog.at_level(logging.INFO):
        again = prepare_data(config(raw))
    assert said in caplog.text
    assert again.fingerprint != before.fingerprint
    whole = prepare_dataset(again.manifest["config"], raw, raw.parent / "whole", progress=False)
    assert read_json(whole / "manifest.json")["files"] == again.manifest["files"]


def test_a_file_that_has_gone_is_said(raw: Path, caplog: pytest.LogCaptureFixture):
    shutil.copy(raw / "day-1.csv", raw / "day-2.csv")
    assert prepare_data(config(raw)).manifest["n_events"] == 24
    (raw / "day-2.csv").unlink()
    with caplog.at_level(logging.INFO):
        assert prepare_data(config(raw)).manifest["n_events"] == 12
    assert "gone: day-2.csv" in caplog.text
    (raw / "items.csv").unlink()
    with pytest.raises(UserError, match=r"items.csv is missing"):
        prepare_data(config(raw))


def test_unchanged_raw_files_are_not_read_again(raw: Path, monkeypatch: pytest.MonkeyPatch):
    before = prepare_data(config(raw)).manifest
    monkeypatch.setattr(prepare_module, "prepare_dataset", None)
    for name in ("day-1.csv", "items.csv"):
        os.utime(raw / name)  # a new date alone changes nothing
    assert prepare_data(config(raw)).manifest == before


def test_without_raw_files_prepared_data_are_used_and_it_is_said_that_nothing_was_checked(
    raw: Path, caplog: pytest.LogCaptureFixture
):
    plain = {"erasure": None}
    before = prepare_data(config(raw, **plain))
    for other in (raw.parent / "nowhere", raw.parent):
        caplog.clear()
        assert prepare_data(config(other, raw, **plain)).fingerprint == before.fingerprint
        assert f"no raw file of shop is in {other}" in caplog.text
        assert "could not be checked" in caplog.text
    caplog.clear()
    prepare_data(config(raw, **plain))
    assert "checked" not in caplog.text


def test_other_raw_files_under_the_same_names_in_another_folder_are_noticed(raw: Path):
    prepare_data(config(raw, erasure=None))
    other = raw.parent / "other"
    shutil.copytree(raw, other)
    (other / "day-1.csv").write_text(DAY + DAY.partition("\n")[2])
    assert prepare_data(config(other, raw, erasure=None)).manifest["n_events"] == 24


def test_a_file_that_is_written_while_it_is_read_is_refused(raw: Path, monkeypatch: pytest.MonkeyPatch):
    original = log_module.read_log

    def slow(*arguments: Any) -> Any:
        found = original(*arguments)
        with open(raw / "day-1.csv", "a") as file:
            file.write("u1,i1,1600000999,3.0\n")
        return found

    monkeypatch.setattr("shopkeeper.arrange.engine.read_log", slow)
    with pytest.raises(UserError, match=r"day-1.csv changed while it was read"):
        prepare_dataset({**CONFIG, "erasure": None}, raw, raw.parent / "out", progress=False)
    assert not (raw.parent / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (mend_price, "day-1.csv has changed"),
        (lambda raw: (raw / "day-1.csv").unlink(), "day-1.csv has gone"),
    ],
)
def test_extending_notices_what_happened_to_the_old_files(raw: Path, change: Any, message: str):
    plain = {k: v for k, v in CONFIG.items() if k != "erasure"}
    old = prepare_dataset(plain, raw, raw.parent / "old", progress=False)
    change(raw)
    (raw / "day-2.csv").write_text(DAY.replace("16000000", "17000000"))
    with pytest.raises(UserError, match=message):
        extend_dataset(old, plain, raw, raw.parent / "new", progress=False)
    assert not (raw.parent / "new").exists()


def test_extending_reads_a_mended_table_anew(raw: Path):
    plain = {k: v for k, v in CONFIG.items() if k != "erasure"}
    old = prepare_dataset(plain, raw, raw.parent / "old", progress=False)
    (raw / "items.csv").write_text("id,colour\nx0,pink\nx1,blue\n")
    (raw / "day-2.csv").write_text(DAY.replace("16000000", "17000000"))
    new = extend_dataset(old, plain, raw, raw.parent / "new", progress=False)
    assert pq.read_table(new / "items.parquet")["colour"].to_pylist() == ["pink", "blue", None, None]


def test_the_share_of_rejected_rows_is_that_of_all_files(raw: Path):
    plain = {k: v for k, v in CONFIG.items() if k != "erasure"}
    (raw / "day-1.csv").write_text(DAY + DAY.partition("\n")[2] * 3)  # 48 good rows
    old = prepare_dataset(plain, raw, raw.parent / "old", progress=False)
    later = DAY.replace("16000000", "17000000")
    (raw / "day-2.csv").write_text(later + ",i1,1700000050,1.0\n" * 4)  # 4 of 16, 4 of 64 in all
    extended = extend_dataset(old, plain, raw, raw.parent / "grown", progress=False)
    (raw / "day-3.csv").write_text(later + ",i1,1700000050,1.0\n" * 5)  # 9 of 81: above .1, though fewer before
    with pytest.raises(UserError, match=r"in all 9 of 81 rows \(11.1%\)"):
        extend_dataset(extended, plain, raw, raw.parent / "more", progress=False)
    with pytest.raises(UserError, match=r"in all 9 of 81 rows \(11.1%\)"):
        prepare_dataset(plain, raw, raw.parent / "whole", progress=False)


def test_extend_into_a_folder_that_holds_everything_says_so(raw: Path, caplog: pytest.LogCaptureFixture):
    prepare_data(config(raw, erasure=None))
    with caplog.at_level(logging.INFO):
        prepare_data(config(raw, extend=raw.parent / "prepared/shop", erasure=None))
    assert "adds nothing" in caplog.text
