"""Every YAML that is shipped composes, and what it configures takes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir

from shopkeeper.arrange.engine import engine_name
from shopkeeper.ingest import dataset
from shopkeeper.nn.losses import Loss
from shopkeeper.pipeline import context
from shopkeeper.recommenders.base import make
from shopkeeper.timeline import SplitSpec
from shopkeeper.training.config import TrainerConfig
from shopkeeper.tuning.space import read_space, with_settings
from shopkeeper.tuning.study import check_settings

CONF = Path(__file__).parents[2] / "conf"
FILES = sorted(CONF.rglob("*.yaml"))
VERBS = {"tuning": "tune", "tuning/space": "tune"}


def composed(verb: str, *words: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return context.plain(compose(verb, list(words)))


def dataset_is_valid(cfg: Mapping[str, Any], name: str) -> None:
    found = dataset.parse(context.dataset_spec(cfg))
    assert found.name == name
    assert context.split_spec(cfg)["target_events"]
    SplitSpec.from_config(context.split_spec(cfg))
    if cfg["dataset"].get("churn"):
        churn = yaml.safe_load((CONF / "task/churn.yaml").read_text())
        assert context.customer_spec({**cfg, "task": churn}).horizon_days > 0


def model_is_valid(cfg: Mapping[str, Any], name: str) -> None:
    context.check_task(cfg)
    assert name.startswith(cfg["model"]["name"])  # the oracles of several tasks share theirs
    make(cfg["model"])


def space_is_valid(cfg: Mapping[str, Any], name: str) -> None:
    assert cfg["model"]["name"] == name
    space = read_space(cfg)
    assert space
    for end in ("low", "high"):
        chosen = {key: spec.get(end, spec.get("choices", [None])[0 if end == "low" else -1])
                  for key, spec in space.items()}  # fmt: skip
        make(with_settings(cfg, chosen)["model"])


def task_is_valid(cfg: Mapping[str, Any], name: str) -> None:
    assert cfg["task"]["name"] == name
    assert cfg["task"]["headline"]
    if name != "next_item":
        assert context.customer_spec(cfg).horizon_days > 0


def tracking_is_valid(cfg: Mapping[str, Any], name: str) -> None:
    assert cfg["tracking"]["name"] == name
    assert set(cfg["tracking"]) <= {"name", "uri", "artifacts", "experiment"}


CHECKS = {
    "dataset": dataset_is_valid,
    "engine": lambda cfg, name: _equal(engine_name(cfg["engine"]), name),
    "loss": lambda cfg, name: _equal(Loss.of(cfg["loss"]).name, name),
    "model": model_is_valid,
    "paths": lambda cfg, name: _equal({type(path) for path in cfg["paths"].values()}, {str}),
    "split": lambda cfg, name: _equal(SplitSpec.from_config(context.split_spec(cfg)).name, name),
    "task": task_is_valid,
    "tracking": tracking_is_valid,
    "trainer": lambda cfg, name: TrainerConfig.of(cfg["trainer"]),
    "tuning": lambda cfg, name: check_settings(cfg["tuning"]),
    "tuning/space": space_is_valid,
}


def _equal(one: Any, other: Any) -> None:
    assert one == other


@pytest.mark.parametrize("path", [p for p in FILES if p.parent != CONF], ids=lambda p: str(p.relative_to(CONF)))
def test_every_choice_of_a_group_composes_and_is_taken_by_what_it_configures(path: Path):
    group = str(path.parent.relative_to(CONF))
    word = f"model={path.stem}" if group == "tuning/space" else f"{group}={path.stem}"
    words = [word, "model=base_rate"] if word == "task=churn" else [word]
    CHECKS[group](composed(VERBS.get(group, "train"), *words), path.stem)


@pytest.mark.parametrize("path", [p for p in FILES if p.parent == CONF], ids=lambda p: p.stem)
def test_every_file_of_a_verb_composes(path: Path):
    if path.stem == "pipeline":
        plan = yaml.safe_load(path.read_text())
        for model, task in plan["models"].items():
            cfg = composed("train", f"model={model}", f"dataset={plan['dataset']}", f"split={plan['split']}")
            assert cfg["task"]["name"] == task
        assert plan["export"] in ("best", *plan["models"])
        assert all((CONF / "tuning/space" / f"{model}.yaml").is_file() for model in plan["tune"])
        return
    cfg = composed(path.stem)
    assert {"dataset", "paths"} <= set(cfg)


def test_a_wrong_setting_in_a_file_of_any_group_would_be_found(monkeypatch: pytest.MonkeyPatch):
    for group, word in {
        "dataset": "+dataset.colums={}", "model": "+model.wdith=3", "split": "+split.test_dyas=3",
        "trainer": "+trainer.devises=2", "loss": "+loss.negatvies=3", "tuning/space": "+tuning.space.neighbors.low=1",
        "tuning": "tuning.sampler=tpee", "engine": "+engine.memroy=3g",
    }.items():  # fmt: skip
        name = "item_knn" if group == "tuning/space" else None
        words = [word, *(["model=item_knn"] if name else [])]
        cfg = composed(VERBS.get(group, "train"), *words)
        with pytest.raises(Exception, match=r"Did you mean|unknown|not known|has no setting|unexpected"):
            CHECKS[group](cfg, name or cfg[group]["name"])
