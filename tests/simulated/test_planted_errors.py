"""Planted errors are all found, and nothing else is called an error."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import shopkeeper
from shopkeeper.errors import UserError
from shopkeeper.ingest.dataset import parse
from shopkeeper.ingest.log import read_log
from shopkeeper.simulated.planted_errors import KINDS, plant, write_csv
from shopkeeper.simulated.settings import Simulation
from shopkeeper.simulated.shop import simulate

COLUMNS = ("user_id", "item_id", "event_type", "timestamp", "session_id", "order_id", "quantity", "price", "channel")
CONFIG = {
    "name": "own_log",
    "raw": {"folder": ".", "files": ["dirty.csv"]},
    "reader": {"format": "csv"},
    "columns": {name: name for name in COLUMNS},
    "schema": {
        "price": {"required": True},
        "quantity": {"required_for": ["purchase"]},  # a view has none
    },
    "max_rejected_share": 1.0,
}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    simulate(Simulation(preset="demo_shop", seed=8, customers=60), folder)
    write_csv(folder / "events.parquet", folder / "dirty.csv", rows=2500)
    (folder / "dirty.csv").rename(folder / "clean.csv")
    return folder / "clean.csv"


def found_in(folder: Path) -> set[tuple[int, str]]:
    rejected = read_log(parse(CONFIG), folder, progress=False).rejected
    return set(zip(rejected["row"].to_pylist(), rejected["column"].to_pylist(), strict=True))


@pytest.mark.parametrize("seed", range(20))
def test_every_planted_error_is_found_and_nothing_else(clean: Path, tmp_path: Path, seed: int) -> None:
    planted = plant(clean, tmp_path / "dirty.csv", seed, share=0.03)
    assert {p.kind for p in planted} == set(KINDS)
    assert len({p.row for p in planted}) == len(planted)
    found = found_in(tmp_path)
    missed = [p for p in planted if (p.row, p.column) not in found]
    assert not missed, f"not found: {missed}"
    assert found == {(p.row, p.column) for p in planted}, "false alarms"


def test_a_clean_log_raises_no_alarm(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "dirty.csv").write_bytes(clean.read_bytes())
    assert found_in(tmp_path) == set()


def test_rows_without_an_error_are_untouched(clean: Path, tmp_path: Path) -> None:
    planted = plant(clean, tmp_path / "dirty.csv", 1)
    before, after = clean.read_text().splitlines(), (tmp_path / "dirty.csv").read_text().splitlines()
    assert len(before) == len(after)
    changed = {n for n, (a, b) in enumerate(zip(before, after, strict=True), start=1) if a.replace('"', "") != b}
    assert changed <= {p.row for p in planted}
    assert len(changed) == len(planted)


def test_no_detector_knows_the_answers() -> None:
    root = Path(shopkeeper.__file__).parent
    for file in root.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            module = getattr(node, "module", "") or ""
            assert not any("planted_errors" in name for name in [*names, module]), f"{file} imports planted_errors"


def test_an_unknown_kind_is_named(clean: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'nan_price'"):
        plant(clean, tmp_path / "dirty.csv", 1, kinds=["nan_prize"])
