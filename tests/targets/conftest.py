"""Bundles of the shop of the export tests, of each kind of program that other runtimes are given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shopkeeper.bundles.write import export_bundle
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.knn.item_knn import ItemKNN
from shopkeeper.recommenders.networks.sasrec import SASRec
from tiny import days, tiny_prepared

RUN = MadeFrom(task="next_item", seed=0)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """200 customers, 60 items that follow one another, all of them in the catalogue but the last."""
    rng = np.random.default_rng(7)
    histories = [
        (rng.integers(1, 61) + np.cumsum(rng.integers(1, 4, rng.integers(3, 20)))) % 60 + 1 for _ in range(200)
    ]
    lists = [h.tolist() for h in histories]
    return tiny_prepared(
        tmp_path_factory.mktemp("shop") / "tiny", lists, days(lists), n_items=60, catalogue=range(1, 60)
    )


@pytest.fixture(scope="session")
def sasrec(shop: Any) -> SASRec:
    model = SASRec(width=16, blocks=1, max_length=12, epochs=4, lr=0.01)
    model.fit(*shop, Fit(progress=False))
    return model


@pytest.fixture(scope="session")
def graph(shop: Any, sasrec: SASRec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a network, which is a graph."""
    return export_bundle(sasrec, *shop, replace(RUN, model="sasrec"), tmp_path_factory.mktemp("graph") / "b", golden=40)


@pytest.fixture(scope="session")
def counts(shop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a model that is arrays, and no product of vectors."""
    model = ItemKNN(5)
    model.fit(*shop, Fit(progress=False))
    return export_bundle(model, *shop, replace(RUN, model="item_knn"), tmp_path_factory.mktemp("knn") / "b", golden=20)
