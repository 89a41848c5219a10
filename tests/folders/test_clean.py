"""`shopkeeper clean` says of what stays whose it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shopkeeper.cli.clean import clean

NOTE = {"run": "/somewhere/runs/shop/next_item/temporal/sasrec-c596dd6f", "epochs": 200}


@pytest.mark.parametrize("dry_run", [True, False])
def test_notes_beside_checkpoints_go_and_scores_and_what_others_wrote_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], dry_run: bool
):
    monkeypatch.chdir(tmp_path)
    for folder in ("outputs/checkpoints", "outputs/scores"):
        Path(folder).mkdir(parents=True)
    note = Path("outputs/checkpoints/sasrec-c596dd6f2d2d0940.json")
    note.write_text(json.dumps(NOTE))
    mine = Path("outputs/checkpoints/mine-c596dd6f2d2d0940.json")
    mine.write_text(json.dumps({"mine": 1}))
    scores = Path("outputs/scores/shop-churn-2026-03-03.parquet")
    scores.write_bytes(b"PAR1")
    clean(dry_run)
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"stays, customers' scores: {scores}; delete it by hand when nobody needs it",
        f"stays, in no manifest of this project: {mine}",
    ]
    assert (note.exists(), mine.exists(), scores.exists()) == (dry_run, True, True)


def test_folders_that_held_nothing_but_notes_go_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("outputs/checkpoints").mkdir(parents=True)
    Path("outputs/checkpoints/sasrec-c596dd6f2d2d0940.json").write_text(json.dumps(NOTE))
    clean()
    assert not Path("outputs").exists()
