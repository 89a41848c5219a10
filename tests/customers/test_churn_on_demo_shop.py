"""Churn on a small demo shop, beside the exact probabilities: nobody beats the oracle, and LightGBM comes near."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from shopkeeper.customers.build_cohort import build_cohort
from shopkeeper.data.prepared import Prepared
from shopkeeper.evaluation.aggregates import compare_aggregates
from shopkeeper.evaluation.compare import Comparison
from shopkeeper.evaluation.rows.labels import customer_table
from shopkeeper.evaluation.table import summarise
from shopkeeper.models.fit import Fit
from shopkeeper.models.make import make
from shopkeeper.timeline import CustomerSpec, customer_windows

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict:
    from shopkeeper.arrange.prepare import prepare_dataset

    config = yaml.safe_load((CONF / "dataset" / "demo_shop.yaml").read_text())
    config["simulate"]["customers"] = 1500
    folder = tmp_path_factory.mktemp("prepared")
    prepared = Prepared.open(prepare_dataset(config, folder / "raw", folder / "demo_shop", progress=False))
    churn, time = config["churn"], prepared.events.timestamp
    assert time is not None
    windows = customer_windows(CustomerSpec.from_config(churn), int(time.min()), int(time.max()))
    cohort = {
        part: build_cohort(prepared, t, churn["horizon_days"], churn["active_days"])
        for part, t in windows.parts.items()
    }
    found = {}
    for name in ("base_rate", "logistic", "lightgbm", "oracle_observable_churn"):
        model = make(yaml.safe_load((CONF / "model" / f"{name}.yaml").read_text()))
        if "dataset" in model.about.needs:
            model.bind(prepared)
        model.fit(cohort["train"], cohort["calibration"], Fit(seed=1))
        found[name] = customer_table(prepared, cohort["test"], model.predict(cohort["test"]), {"model": name})
    return found


@pytest.mark.parametrize("name", ["logistic", "lightgbm"])
def test_what_is_learnt_lies_between_the_base_rate_and_the_oracle(tables: dict, name: str) -> None:
    def beside(other: str, metric: str) -> Comparison:
        (found,) = compare_aggregates({other: tables[other], name: tables[name]}, [metric])
        return found

    assert beside("base_rate", "log_loss").high < 0
    oracle = "oracle_observable_churn"
    assert beside(oracle, "log_loss").high > 0  # significantly better than the exact probabilities would be a leak
    assert beside(oracle, "auroc").difference > -0.04


def test_the_oracle_is_as_calibrated_as_chance_allows(tables: dict) -> None:
    summary = summarise(tables["oracle_observable_churn"], resamples=50)
    assert summary["ece"]["value"] < summary["ece_if_calibrated"]["high"]
    assert summary["auroc"]["value"] > 0.75
