"""One small log and its runs for all tests of comparisons."""

from __future__ import annotations

import pytest
from small_runs import MODELS, Data, trained

from shopkeeper.pipeline.runs import RunFolder
from tiny import cycle_histories, days, tiny_prepared


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    histories = cycle_histories(60, 12, 7)  # the next item follows from the last: order matters here
    return tiny_prepared(tmp_path_factory.mktemp("evaluate") / "tiny", histories, days(histories, 19_000))


@pytest.fixture(scope="module")
def runs(data: Data, tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    root = tmp_path_factory.mktemp("runs") / "tiny" / "next_item" / "leave_one_out"
    return [trained(data, root / name, name) for name in MODELS]
