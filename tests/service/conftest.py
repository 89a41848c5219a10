"""Bundles of two models of a tiny shop, and a copy of one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from shopkeeper.bundles.write import export_bundle
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.counting.popularity import Popularity
from shopkeeper.recommenders.counting.recency import Recency
from tiny import tiny_prepared


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("service")
    histories = [np.random.default_rng(u).integers(1, 13, 8).tolist() for u in range(20)]
    prepared, split = tiny_prepared(place / "tiny", histories, n_items=12)
    made = {}
    for name, model in {"recency": Recency(), "popularity": Popularity()}.items():
        model.fit(prepared, split, Fit())
        run = MadeFrom(model=name, task="next_item")
        made[name] = export_bundle(model, prepared, split, run, place / name, k=5, golden=10)
    return made


@pytest.fixture
def folder(exported: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported["recency"], tmp_path / "bundle"))
