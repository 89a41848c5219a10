"""A headline that is no mean over rows orders models as others do, and a direction that would turn it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from house import House, Row, read
from shopkeeper.errors import UserError

SPLIT = ("dataset=shop", "split=temporal", "split.test_days=10", "split.validation_days=10")
CHURN = ("task=churn", "task.windows.horizon_days=7", "task.windows.active_days=30", "task.windows.n_train=1")


def shop() -> list[Row]:
    """80 customers who buy every 3 to 23 days."""
    rng, rows = np.random.default_rng(1), []
    for customer in range(80):
        for day in np.cumsum(rng.exponential(3 + customer / 4, 40)):
            if day < 100:
                at = np.datetime64("2023-01-01T09:00:00") + np.timedelta64(int(day * 86400), "s")
                rows.append((f"c{customer}", f"s{rng.integers(6)}", str(at).replace("T", " "), "2.5"))
    return sorted(rows, key=lambda row: row[2])


def test_auroc_orders_models_that_are_there_with_several_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    house = House(tmp_path)
    house.dataset("shop", shop())
    words = (*SPLIT, *CHURN, "task.headline=auroc")
    with pytest.raises(UserError, match=r"worst model lead; set task\.direction=maximize"):
        house.train("turned", *words, "model=logistic")
    for run in ("base_rate-1", "base_rate-2", "logistic-1", "logistic-2"):
        model, _, seed = run.partition("-")
        house.train(run, *words, "task.direction=maximize", f"model={model}", f"seed={seed}")
    house.evaluate(*SPLIT, "runs=[base_rate-1,base_rate-2,logistic-1,logistic-2]", "out=report")
    shown = (tmp_path / "report/leaderboard.txt").read_text()
    assert shown.index("logistic#1") < shown.index("base_rate#1")
    found = read("report/leaderboard.json")["churn"]
    assert found["logistic#1"]["auroc"] > found["base_rate#1"]["auroc"] == 0.5
    assert read("report/sanity.json")["churn"]["seeds"] == {}  # of what is no mean over rows nothing is said over seeds
