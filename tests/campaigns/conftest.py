"""Fixtures of the tests of audiences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from audience_shop import ITEMS, LOG, Event

from shopkeeper.data.prepared import Prepared
from tiny import DAY, tiny_prepared


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    def each(of: Callable[[Event], Any]) -> list[list[Any]]:
        return [[of(e) for e in events] for events in LOG]

    return tiny_prepared(
        tmp_path_factory.mktemp("shop") / "shop",
        each(lambda e: e.item),
        each(lambda e: round(e.day * DAY)),
        event_types=each(lambda e: e.kind),
        columns={"price": each(lambda e: e.price)},
        items={"name": [f"thing {i}" for i in range(1, ITEMS + 1)]},
        n_items=ITEMS,
    )[0]
