"""Too few customers, too short a log, more returned than bought, several currencies: said, and no run is lost."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from house import House
from shopkeeper.errors import UserError
from shopkeeper.pipeline.runs import open_run
from shopkeeper.pipeline.score import scores_of

HEADER = ("customer", "item", "time", "price", "kind", "currency")
TOLD = {
    "event_type": {"column": "kind", "map": {"purchase": "purchase", "return": "return"}},
    "churn": {"horizon_days": 30, "active_days": 60},
}
CHOSEN = ("dataset=small", "split=temporal", "model.min_positives=3")


def lines() -> list[tuple[str, ...]]:
    """30 customers over 300 days; c0 buys, and sends back twice what he paid."""
    rng, found = np.random.default_rng(2), []
    for customer in range(30):
        for day in np.cumsum(rng.exponential(8 + customer, 60)):
            if day < 300:
                date = f"{np.datetime64('2023-01-01') + int(day)} 12:00:00"
                found.append((f"c{customer}", "s1", date, "10", "purchase", "EUR"))
                if customer == 0:
                    found.append(("c0", "s1", f"{date[:-8]}13:00:00", "20", "return", "EUR"))
    return sorted(found, key=lambda row: row[2])


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.chdir(tmp_path)
    house = House(tmp_path)
    house.dataset("small", lines(), HEADER, **TOLD)
    return house


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("min_customers=31", r"too few customers to learn from \(\d+ of at least 31\)"),
        ("min_days=280", r"too short a log to learn from \(26\d(\.\d)? of at least 280 days before the test cutoff\)"),
    ],
)
def test_with_less_than_is_asked_for_every_score_is_blank_with_the_reason(
    house: House, setting: str, reason: str, caplog: pytest.LogCaptureFixture
):
    run = house.train("run", "model=logistic", *CHOSEN, f"task.windows.{setting}")
    assert run.metrics["test"]["scored"]["value"] == 0
    said = set(run.table("test")["blank_reason"].to_pylist())
    assert len(said) == 1
    assert re.fullmatch(reason, said.pop())
    assert re.search(rf"no score on test, {run.table('test').num_rows}: {reason}", caplog.text)
    scores, _ = scores_of(open_run("run"))
    assert scores["probability"].null_count == scores.num_rows
    with pytest.raises(UserError, match="has no scores to export: too"):
        house.export("run=run", "name=no", "dataset=small", "split=temporal")


def test_with_as_much_as_is_asked_for_everybody_is_scored(house: House):
    run = house.train("run", "model=logistic", *CHOSEN, "task.windows.min_customers=10", "task.windows.min_days=200")
    assert run.metrics["test"]["scored"]["value"] == 1
    assert "too_thin" not in run.manifest


def test_whoever_sends_back_more_than_they_buy_spends_nothing_and_nothing_breaks(house: House):
    run = house.train("run", "model=lightgbm", "task=spend", *CHOSEN)
    table = run.table("test")
    assert table["actual"].to_pylist()[table["user_id"].to_pylist().index("c0")] == 0
    assert min(table["expected"].to_pylist()) >= 0


def test_rows_of_another_currency_are_rejected_by_a_rule_of_the_dataset_and_counted(house: House):
    some = [(*row[:5], "USD") if n % 10 == 0 else row for n, row in enumerate(lines())]
    rule = {"column": "currency", "matches": "^(USD|GBP)$", "reason": "another currency than EUR"}
    house.dataset("small", some, HEADER, **TOLD, reject=[rule], max_rejected_share=0.2)
    run = house.train("run", "model=base_rate", "task=spend", *CHOSEN)
    rejected = pq.read_table(Path(run.manifest["prepared"]) / "rejected.parquet")
    assert set(rejected["reason"].to_pylist()) == {"another currency than EUR"}
    assert rejected.num_rows == sum(row[5] == "USD" for row in some)
    house.dataset("small", some, HEADER, **TOLD, reject=[rule])
    with pytest.raises(UserError, match=r"column 'currency': another currency than EUR \(value 'USD'\)"):
        house.train("no", "model=base_rate", "task=spend", *CHOSEN)
