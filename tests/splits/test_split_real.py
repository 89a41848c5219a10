"""Splits of published data: the requests that papers count, and hashes that say when a target ever changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.splits.audit import audit_by_perturbation
from shopkeeper.splits.write import write_split
from shopkeeper.timeline import CustomerSpec, customer_windows, iso

CONF = Path(__file__).parents[2] / "conf" / "dataset"
pytestmark = pytest.mark.real
# dataset -> split -> (requests in test, beginning of the test hash)
PINNED = {
    "ml_100k": {
        "leave_one_out": (943, "c35e75d80707"),
        "temporal": (91, "a5d6d12207b1"),
        "held_out_users": (95, "e028212fe1bd"),
        "sessions": (3497, "dc5da81bfdc7"),
    },
    "ml_1m": {"leave_one_out": (6040, "3de4bc7ce0c2")},
    "amazon_beauty": {"leave_one_out": (22363, "812ea14fd446")},
    "online_retail": {"temporal": (1459, "e5c161fe84be"), "leave_one_out": (2066, "8c78c2e237fe")},
}


def prepared(name: str, raw: Path, out: Path) -> tuple[Prepared, dict]:
    config = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    config.pop("defaults", None)
    return Prepared.open(prepare_dataset(config, raw, out / name, progress=False)), config


@pytest.mark.parametrize("name", PINNED)
def test_targets_of_published_data_are_what_they_were(name, raw, tmp_path):
    p, config = prepared(name, raw, tmp_path)
    for kind, (requests, digest) in PINNED[name].items():
        spec = {"name": kind, "target_events": config["target_events"]}
        if kind in ("temporal", "sessions"):
            spec |= config["temporal"]
        split = Split.named(p, write_split(p, spec).name)
        assert split.timeline["n_requests"]["test"] == requests
        assert split.target_hash()[:12] == digest, kind
        assert split.timeline["audit"]["passed"]
        assert audit_by_perturbation(p, split)["passed"]


def test_customer_cutoffs_of_online_retail_are_the_published_ones(raw, tmp_path):
    p, config = prepared("online_retail", raw, tmp_path)
    ts = p.events.timestamp
    w = customer_windows(CustomerSpec.from_config(config["churn"]), int(ts.min()), int(ts.max()))
    assert [iso(t)[:10] for t in (*w.train, w.calibration, w.test)] == ["2010-03-14", "2010-06-12", "2010-09-10"]
