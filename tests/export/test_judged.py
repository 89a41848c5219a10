"""A bundle's card says how its model did beside the strongest baseline, and only of this very run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shopkeeper.pipeline.comparing.judged import judged
from shopkeeper.pipeline.runs import RunFolder

PAIR = {"metric": "ndcg@10", "difference": 0.04, "low": 0.01, "high": 0.07, "p_adjusted": 0.002,
        "winner": "sasrec", "method": "randomisation", "statement": "sasrec is better"}  # fmt: skip


def run_of(model: str, value: float) -> RunFolder:
    about = {"dataset": "shop", "split": "temporal", "task": "next", "model": model, "seed": 0}
    figures = {"test": {"ndcg@10": {"value": value}}}
    return RunFolder(Path("run"), {"task": {"headline": "ndcg@10"}}, about | figures, {})


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    def write(**files: Any) -> Path:
        place = tmp_path / "shop/temporal"
        place.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (place / f"{name}.json").write_text(json.dumps(content))
        return tmp_path

    return write(
        manifest={"baselines": {"next": "recency"}},
        leaderboard={"next": {"sasrec": {"ndcg@10": 0.31}, "recency": {"ndcg@10": 0.27}}},
        comparisons={"next": [{"a": "recency", "b": "popularity", **PAIR}, {"a": "recency", "b": "sasrec", **PAIR}]},
    )


def test_the_comparison_with_the_baseline_is_of_the_run_minus_the_baseline(reports: Path):
    found = judged(run_of("sasrec", 0.31), reports)
    assert found is not None
    assert (found["baseline"], found["difference"], found["low"], found["high"]) == ("recency", 0.04, 0.01, 0.07)
    assert found["better"] is True
    file = reports / "shop/temporal/comparisons.json"
    file.write_text(json.dumps({"next": [{"a": "sasrec", "b": "recency", **PAIR, "winner": "recency"}]}))
    turned = judged(run_of("sasrec", 0.31), reports)
    assert turned is not None
    assert turned["better"] is False
    assert (turned["difference"], turned["low"], turned["high"]) == (-0.04, -0.07, -0.01)


def test_nothing_is_said_of_another_run_of_the_baseline_itself_or_without_a_report(reports: Path, tmp_path: Path):
    assert judged(run_of("sasrec", 0.32), reports) is None  # trained anew since
    assert judged(run_of("recency", 0.27), reports) is None
    assert judged(run_of("gru4rec", 0.3), reports) is None
    assert judged(run_of("sasrec", 0.31), tmp_path / "none") is None
    (reports / "shop/temporal/manifest.json").write_text("{}")  # of an older version
    assert judged(run_of("sasrec", 0.31), reports) is None
