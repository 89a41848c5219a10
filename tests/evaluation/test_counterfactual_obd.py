"""Two policies ran in one shop: what one log says about the other policy is held against that policy's own log."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pytest

from shopkeeper.errors import UserError
from shopkeeper.evaluation.counterfactual import evaluate_obd


def write_logs(folder, drop=()):
    """A miniature of the data set: 3 items, uniform and skewed policies, the same click rates for both."""
    rng = np.random.default_rng(1)
    n, clicks = 3000, np.array([0.1, 0.3, 0.6])
    for campaign in ("men", "women"):
        for policy, shares in (("random", [1 / 3] * 3), ("bts", [0.2, 0.3, 0.5])):
            item = rng.choice(3, n, p=shares)
            table = {
                "item_id": item,
                "position": rng.integers(1, 4, n),
                "click": (rng.random(n) < clicks[item]).astype(int),
                "propensity_score": np.array(shares)[item],
                **{f"user_feature_{k}": [f"{k}{x}" for x in rng.integers(0, 3, n)] for k in range(4)},
                **{f"user-item_affinity_{k}": np.zeros(n) for k in range(3)},
            }
            path = folder / policy / campaign / f"{campaign}.csv.gz"
            path.parent.mkdir(parents=True)
            with pa.CompressedOutputStream(path, "gzip") as out:
                csv.write_csv(pa.table({k: v for k, v in table.items() if k not in drop}), out)


def test_each_log_finds_the_other_policys_click_rate(tmp_path):
    write_logs(tmp_path)
    rows = evaluate_obd(tmp_path, resamples=300).to_pylist()
    assert len(rows) == 2 * 2 * 7
    for row in rows:
        assert row["value"] == pytest.approx(1 / 3 if row["target"] == "random" else 0.41, abs=0.03), row
        assert row["agrees"] or abs(row["difference"]) < 0.03
        assert (row["kind"] == "exact") == (row["logged"] == "bts"), "only uniform-from-Thompson is exact"
    assert sum(row["agrees"] for row in rows) >= 24


def test_a_missing_file_or_column_is_named(tmp_path):
    with pytest.raises(UserError, match=r"men\.csv\.gz is missing"):
        evaluate_obd(tmp_path)
    write_logs(tmp_path, drop=("propensity_score",))
    with pytest.raises(UserError, match="lacks column 'propensity_score'"):
        evaluate_obd(tmp_path)


@pytest.mark.real
def test_the_uniform_policys_click_rate_is_found_in_the_thompson_sampling_log(raw):
    rows = evaluate_obd(raw / "obd").to_pylist()
    exact = [r for r in rows if r["kind"] == "exact"]
    assert {(r["campaign"], r["estimator"]) for r in exact} == {
        (c, e) for c in ("men", "women") for e in ("ips", "clipped_ips", "snips", "dm", "dr", "switch_dr", "dr_os")
    }
    for row in exact:
        assert row["own_value"] == pytest.approx(0.0046)
        if row["estimator"] != "dm":
            assert row["agrees"], row
    assert all("stationary approximation" in r["kind"] for r in rows if r["logged"] == "random")
    women = next(r for r in exact if r["campaign"] == "women")
    assert women["warnings"], "one round with propensity 1e-6 carries most of the weight, and the user must know"
