"""Verbs that read what was trained take its dataset, where a command names none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from customers.test_totals_verbs import rows
from house import House

FAST = ("segmentation.clusters.bootstraps=2", "segmentation.clusters.most=3", "segmentation.clusters.cutoffs=1")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    house = House(tmp_path_factory.mktemp("meant"))
    with pytest.MonkeyPatch.context() as here:
        here.chdir(house.place)
        for name in ("first", "second"):
            house.dataset(name, rows())
            house.train(f"runs/{name}/next_item/temporal/popularity", f"dataset={name}", "model=popularity")
    return house.place


def said(place: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "shopkeeper", *words, "paths.raw=raw", "progress=false"],
        cwd=place,
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


def test_segments_and_audiences_are_of_what_was_trained_last_unless_a_command_says_otherwise(place: Path):
    assert "segments: segments/second" in said(place, "segments", *FAST)
    assert "segments: segments/first" in said(place, "segments", "dataset=first", *FAST)
    win_back = ("audience", "audience=win_back", "audience.needs_consent=false")
    assert "audience: audiences/second/win_back" in said(place, *win_back, "~audience.blocks.for_you")
    named = said(place, *win_back, "recommender=first/popularity")
    assert "dataset=first, as first/popularity is of it" in named
    assert "audience: audiences/first/win_back" in named
    assert "popularity may be" in said(place, *win_back, "recommender=popularity")


def test_where_nothing_was_trained_a_command_asks_which_dataset_is_meant(tmp_path: Path):
    for verb in ("segments", "audience"):
        text = said(tmp_path, verb)
        assert f"there is no finished run below runs; say it, `shopkeeper {verb} dataset=" in text
        assert not (tmp_path / "data").exists()
