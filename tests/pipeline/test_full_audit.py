"""`audit=full` through the verb: rows, catalogue and customer features, with everything after the cutoff perturbed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from shopkeeper.features.customer.declared import Features
from shopkeeper.pipeline.preparing import split as preparing
from shopkeeper.pipeline.preparing.data import prepare_data
from shopkeeper.pipeline.told import Prepare, settings
from shopkeeper.splits.audit import AuditError

ROOT = Path(__file__).parents[2]


def test_the_full_audit_looks_at_the_features_that_were_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    words = ["dataset.simulate.customers=150", f"paths.prepared={tmp_path}", "audit=full", "progress=false"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = settings(compose("prepare", [*words, "features=rich"]), Prepare)
    prepared, seen = prepare_data(cfg), list[int]()
    monkeypatch.setattr("shopkeeper.splits.audit.audit_by_perturbation",
                        lambda p, split, of: seen.extend(f(p).shape[1] for f in of.values()))  # fmt: skip
    preparing.prepare_split(cfg, prepared)
    assert seen
    assert min(seen) > 39  # as many as `usual` has


def test_a_feature_that_sees_the_future_fails_the_full_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    words = ["dataset.simulate.customers=150", f"paths.prepared={tmp_path}", "audit=full", "progress=false"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = settings(compose("prepare", words), Prepare)
    prepared = prepare_data(cfg)
    assert preparing.prepare_split(cfg, prepared).timeline["audit"]["passed"]
    leaky = {"mean price": lambda p: np.array([np.nanmean(p.events.price)])}
    monkeypatch.setattr(preparing, "features_at_training_cutoff", lambda split, declared: leaky)
    with pytest.raises(AuditError, match="mean price changes when events after"):
        preparing.prepare_split(cfg, prepared)


def test_vectors_of_items_alone_leave_the_full_audit_no_feature_to_perturb():
    timed: Any = SimpleNamespace(timeline={"cutoffs": {"validation": {"us": 1}}})
    alone = Features.from_json({"item_vectors": {"run": "runs/somewhere"}})
    assert preparing.features_at_training_cutoff(timed, alone) == {}
    both = replace(alone, recency=True)
    assert list(preparing.features_at_training_cutoff(timed, both)) == ["customer features"]
