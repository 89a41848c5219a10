"""The YAML files that are shipped: composed as a verb composes them, and taken by what they configure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir

from shopkeeper.arrange.engine_settings import Engine
from shopkeeper.errors import UserError
from shopkeeper.ingest import dataset
from shopkeeper.models.make import make
from shopkeeper.nn.loss_settings import Loss
from shopkeeper.pipeline import context
from shopkeeper.pipeline.comparing.placements import check_placement
from shopkeeper.pipeline.told import Audience, Evaluate, Train, Tune, Uplift, plain, settings
from shopkeeper.reranking.steps import steps_of
from shopkeeper.splits.people import PeopleSpec
from shopkeeper.tasks.base import CUSTOMERS
from shopkeeper.tasks.find import find_task
from shopkeeper.training.config import TrainerConfig
from shopkeeper.tuning.space import read_space, with_settings

CONF = Path(__file__).parents[1] / "conf"
FILES = sorted(CONF.rglob("*.yaml"))
EXPERIMENTS = sorted((CONF / "experiment").rglob("*.yaml"))  # `experiment=<folder>/<name>`, over all groups
GROUPED = [path for path in FILES if path.parent != CONF and path not in EXPERIMENTS]
VERBS = {"tuning": "tune", "tuning/space": "tune", "rerank": "evaluate", "placement": "evaluate",
         "campaign": "uplift", "audience": "audience"}  # fmt: skip


def group_of(path: Path) -> str:
    return path.parent.relative_to(CONF).as_posix()


def words_of(path: Path) -> list[str]:
    """The words of a command line that choose a file of a group."""
    group = group_of(path)
    if group == "source":  # the part of a dataset that is the same for all who have that export
        files = [] if "logs" in yaml.safe_load(path.read_text()) else ["+dataset.raw={folder: '', files: [a.csv]}"]
        return [f"+source@dataset={path.stem}", "~dataset.simulate", *files]
    word = f"model={path.stem}" if group == "tuning/space" else f"{group}={path.stem}"
    return [word, "model=base_rate"] if group == "task" and _of_customers(path.stem) else [word]


def _of_customers(task: str) -> bool:
    return find_task({"name": task}).asks == CUSTOMERS


def composed(verb: str, *words: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose(verb, list(words)))


def dataset_is_valid(cfg: Mapping[str, Any], name: str) -> None:
    found = dataset.parse(context.dataset_spec(settings(cfg, Train)))
    assert found.name == name
    context.check_currency(settings(cfg, Train))
    if cfg["dataset"].get("table"):
        PeopleSpec.of(settings(cfg, Train).split)
    else:
        context.split_spec(settings(cfg, Train))
    if cfg["dataset"].get("churn"):
        churn = yaml.safe_load((CONF / "task/churn.yaml").read_text())
        assert context.customer_spec(settings({**cfg, "task": churn}, Train)).horizon_days > 0


def source_is_valid(cfg: Mapping[str, Any], name: str) -> None:
    try:
        dataset.parse(context.dataset_spec(settings(cfg, Train)))
    except UserError as e:
        if not (cfg["dataset"].get("export") or {}).get("unfit") or "is no log" not in str(e):
            raise


def model_is_valid(cfg: Mapping[str, Any], name: str) -> None:
    context.check_task(settings(cfg, Train))
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
    context.check_task(settings(cfg, Train))
    assert cfg["task"]["name"] == name
    assert cfg["task"]["headline"]
    if _of_customers(name):
        assert context.customer_spec(settings(cfg, Train)).horizon_days > 0


def tracking_is_valid(cfg: Mapping[str, Any], name: str) -> None:
    assert cfg["tracking"]["name"] == name
    settings(cfg, Train)


def _equal(one: Any, other: Any) -> None:
    assert one == other


def rerank_is_valid(cfg: Mapping[str, Any], name: str) -> None:
    for own, block in cfg["rerank"].items():
        assert steps_of(block.get("steps"), f"rerank.{own}.steps") or block["steps"] == []


def audience_is_valid(cfg: Mapping[str, Any], name: str) -> None:
    found = settings(cfg, Audience).audience
    found.check()
    assert found.name == name


def placement_is_valid(cfg: Mapping[str, Any], name: str) -> None:
    place = settings(cfg, Evaluate).placement
    assert place is not None
    assert place.name == name
    check_placement(place)


def _split_name(cfg: dict[str, Any]) -> str:
    """The name of a split, if it is valid: of a log, or of a table of customers."""
    told = settings(cfg, Train)
    if told.split.name == "customers":
        PeopleSpec.of(told.split)
        return "customers"
    return context.split_spec(told).name


CHECKS: dict[str, Callable[[Mapping[str, Any], str], Any]] = {
    "audience": audience_is_valid,
    "campaign": lambda cfg, name: _equal(settings(cfg, Uplift).campaign.name, name),
    "dataset": dataset_is_valid,
    "engine": lambda cfg, name: _equal(Engine.of(cfg["engine"]).name, name),
    "features": lambda cfg, name: settings(cfg, Train),
    "loss": lambda cfg, name: _equal(Loss.of(cfg["loss"]).name, name),
    "model": model_is_valid,
    "paths": lambda cfg, name: _equal({type(path) for path in cfg["paths"].values()}, {str}),
    "placement": placement_is_valid,
    "rerank": rerank_is_valid,
    "source": source_is_valid,
    "split": lambda cfg, name: _equal(_split_name(cfg), name),
    "task": task_is_valid,
    "tracking": tracking_is_valid,
    "trainer": lambda cfg, name: TrainerConfig.of(cfg["trainer"]),
    "tuning": lambda cfg, name: settings(cfg, Tune),
    "tuning/space": space_is_valid,
}
