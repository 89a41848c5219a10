"""The data of the training tests, written once."""

from __future__ import annotations

import pytest
from small_training import shop

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split


@pytest.fixture(scope="session")
def tiny_shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Split]:
    return shop(tmp_path_factory.mktemp("shop") / "prepared")
