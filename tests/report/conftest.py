"""One shop, its sections and their page for all tests of reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from decided import EARLIER, PROFIT, campaigned, now, with_money
from figured import ITEMS, NASTY, N, churners, recommenders

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.evaluation.report import write_report
from shopkeeper.evaluation.report.gather import gather
from shopkeeper.evaluation.settings import Report
from tiny import days, tiny_prepared


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Split]:
    rng = np.random.default_rng(3)
    histories = [rng.integers(1, ITEMS + 1, 3 + u % 40).tolist() for u in range(N)]
    names = [NASTY, *(f"Thing {i}" for i in range(2, ITEMS + 1))]
    categories = ["tea", "garden"] * (ITEMS // 2)
    return tiny_prepared(
        tmp_path_factory.mktemp("shop") / "tiny",
        histories,
        days(histories, 19_000),
        items={"title": names, "category": categories},
        n_items=ITEMS,
    )


@pytest.fixture(scope="session")
def sections(shop: tuple[Prepared, Split]) -> dict[str, Any]:
    found = recommenders(shop, {"sasrec": 0.7, "item_knn": 0.4, "popularity": 0.0, "oracle_observable": 0.95})
    return {"churn": churners(shop), "next_item": found}


@pytest.fixture(scope="session")
def page(sections: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(
        tmp_path_factory.mktemp("report"), gather(sections, Report(customers=12, chosen=("u7",), resamples=100))
    )


@pytest.fixture(scope="session")
def full(sections: dict[str, Any]) -> dict[str, Any]:
    """Sections of a shop that says everything: prices, values of a campaign, who is at risk today."""
    rng = np.random.default_rng(5)
    earned = {name: rng.gamma(1.0, 10.0, t.num_rows) + 5 * (name == "sasrec") for name, t in
              sections["next_item"]["tables"].items()}  # fmt: skip
    churn = sections["churn"]
    metrics = {name: {**m, "profit": PROFIT} for name, m in churn["metrics"].items()}
    told = {"metrics": metrics, "now": now(), "leader": "models/tiny/temporal/churn/logistic"}
    return {"churn": {**churn, **told}, "next_item": with_money(sections["next_item"], earned)}


@pytest.fixture(scope="session")
def full_page(full: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    report = gather(full, Report(customers=6, resamples=100), campaigned(), EARLIER)
    return write_report(tmp_path_factory.mktemp("full"), report)
