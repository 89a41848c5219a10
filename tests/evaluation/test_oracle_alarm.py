"""Better than the oracle on a simulated shop is an alarm; as good as it, or worse, is none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hydra import compose, initialize_config_dir

from shopkeeper.customers.logistic import Logistic
from shopkeeper.evaluation.alarms import model_audit
from shopkeeper.evaluation.alarms.oracle_alarm import better_than_oracle, oracle_alarms
from shopkeeper.evaluation.table import KEY
from shopkeeper.pipeline import audit
from shopkeeper.pipeline.told import Train, settings
from shopkeeper.pipeline.train import train_model
from shopkeeper.recommenders.counting.recency import Recency

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("alarm")


def config(place: Path, *words: str) -> dict:
    words = ("dataset.simulate.customers=400", f"paths.prepared={place}", "tracking=none", "progress=false", *words)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return settings(compose("train", [*words, "evaluation.resamples=50"]), Train)


def table(values: np.ndarray, metric: str = "ndcg@10", oracle: str = "") -> pa.Table:
    found = pa.table({"user": np.arange(1, len(values) + 1, dtype=np.int32), metric: values})
    return found.replace_schema_metadata({KEY: json.dumps({"oracle": oracle})})


def test_only_what_is_better_beyond_chance_is_an_alarm():
    rng = np.random.default_rng(0)
    oracle = rng.random(400)
    for shift, metric, alarm in ((0.1, "ndcg@10", True), (0.0, "ndcg@10", False), (-0.1, "ndcg@10", False),
                                 (-0.1, "log_loss", True), (0.1, "log_loss", False)):  # fmt: skip
        tables = {
            "latent": table(oracle + 1, metric, "latent"),
            "whoever": table(oracle, metric, "observable"),
            "a": table(oracle + shift + rng.normal(0, 0.2, 400), metric),
        }
        assert bool(oracle_alarms(tables, metric)) == alarm
    assert oracle_alarms({"a": table(oracle)}, "ndcg@10") == []


def test_an_honest_model_that_is_as_good_as_the_oracle_is_hardly_ever_suspected():
    rng = np.random.default_rng(1)
    found = [
        better_than_oracle("a", table(rng.normal(0, 1, 200)), table(rng.normal(0, 1, 200)), "ndcg@10")
        for _ in range(1000)
    ]
    assert sum(line is not None for line in found) <= 3


def test_rows_of_one_customer_are_no_independent_witnesses():
    lucky = np.repeat(np.random.default_rng(2).normal(0.15, 1, 20), 50)  # 20 customers with 50 requests each
    own = pa.table({"user": np.repeat(np.arange(1, 21, dtype=np.int32), 50), "ndcg@10": lucky})
    assert better_than_oracle("a", own, own.set_column(1, "ndcg@10", pa.array(np.zeros(1000))), "ndcg@10") is None


def test_a_recommender_better_than_the_oracle_is_an_alarm_of_train(place, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(model_audit, "audit_answers", lambda *_: None)  # which finds it before
    score = Recency.score

    def leaking(self, requests):
        scores = score(self, requests)
        scores[
            np.arange(len(requests)), requests.events.item[np.minimum(requests.end, len(requests.events.item) - 1)]
        ] += 99
        return scores

    monkeypatch.setattr(Recency, "score", leaking)
    run = train_model(config(place, "model=recency"), tmp_path / "run")
    assert "better than the oracle" in run.manifest["alarm"]
    assert [r for r in caplog.records if r.levelname == "WARNING" and "recency is better than the oracle" in r.message]


def test_a_churn_model_better_than_the_oracle_is_an_alarm_of_train(place, tmp_path, monkeypatch):
    monkeypatch.setattr(model_audit, "audit_predictions", lambda *_: None)
    monkeypatch.setattr(Logistic, "predict", lambda self, c: replace(PREDICT(self, c), value=0.1 + 0.8 * c.label))
    run = train_model(config(place, "model=logistic"), tmp_path / "run")
    assert "logistic is better than the oracle (log_loss" in run.manifest["alarm"]


PREDICT = Logistic.predict


@pytest.mark.parametrize("model", ["recency", "logistic"])
def test_honest_models_raise_no_alarm(model, place, tmp_path):
    assert "alarm" not in train_model(config(place, f"model={model}"), tmp_path / "run").manifest


def test_no_alarm_is_silence():
    assert audit.say(None) == {}
