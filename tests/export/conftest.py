"""A small trained shop that every export test may use."""

from __future__ import annotations

import numpy as np
import pytest

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from tiny import days, tiny_prepared


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Split]:
    """60 customers, 40 items with names, views and purchases; items 38 to 40 are not in the catalogue."""
    rng = np.random.default_rng(7)
    histories = [rng.zipf(1.4, rng.integers(3, 30)).clip(1, 40).tolist() for _ in range(60)]
    types = [rng.choice(["view", "purchase"], len(h), p=[0.6, 0.4]).tolist() for h in histories]
    return tiny_prepared(
        tmp_path_factory.mktemp("shop") / "tiny",
        histories,
        days(histories),
        event_types=types,
        items={"title": [f"Thing {i}" for i in range(1, 41)]},
        n_items=40,
        catalogue=range(1, 38),
    )
