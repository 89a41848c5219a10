"""What each setting of a composed configuration may be, whichever verb it is of; a dataset's own are in `ingest`.

Models, trainers, losses, splits and spaces check theirs where they are made of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shopkeeper.errors import number, or_null, whole
from shopkeeper.ingest.dataset_shape import KIND, WHEN, check_dataset
from shopkeeper.metrics.ranks import TIES
from shopkeeper.shapes import (
    ANY,
    PLAIN,
    SWITCH,
    TEXT,
    Each,
    Items,
    Maybe,
    Name,
    Needed,
    OneOf,
    Open,
    Shape,
    check_shape,
)
from shopkeeper.timeline import CustomerSpec

WHERE = "the configuration"  # files and command line in one
PLACES = ("raw", "prepared", "models", "reports", "exports", "studies", "outputs", "checkpoints")
SETTINGS: dict[str, Shape] = {
    "seed": whole(0),
    "audit": Name(("always", "full")),
    "timeline": {"ties": Name(("file", "shuffled")), "ties_seed": whole(0), "observed_until": WHEN,
                 "observed_from": WHEN},
    "prepared_folder": Maybe(TEXT),
    "init_from": Maybe(TEXT),
    "progress": SWITCH,
    "paths": Needed({place: Needed(TEXT) for place in PLACES}),
    "tracking": Needed({"name": Needed(Name(("mlflow", "none"))), "uri": TEXT, "artifacts": TEXT, "experiment": PLAIN}),
    "engine": Open({"name": TEXT, "master": TEXT, "memory": PLAIN, "shuffle_partitions": whole(1),
                    "settings": Each(ANY)}),
    "task": Needed({"name": Needed(TEXT), "target": TEXT, "headline": Needed(TEXT),
                    "direction": Name(("minimize", "maximize")),
                  "windows": {key: Maybe(rule) for key, rule in CustomerSpec.RULES.items()}}),
    "split": Needed(Open({"name": Needed(TEXT), "target_events": Maybe(Items(KIND))})),
    "model": Needed(Open({"name": Needed(TEXT), "target": Needed(TEXT), "task": TEXT,
                          "tasks": OneOf(TEXT, Items(TEXT))})),
    "evaluation": Needed({
        "k": Needed(ANY),  # `context.check_k`
        "top_k": or_null(whole(1)),
        "ties": Name(TIES),
        "resamples": whole(1),
        "confidence": number(above=True, below=1),
        "refit": SWITCH,
        "smallest_effect": number(above=True),
        "batch_size": or_null(whole(1)),
    }),
    "report": Needed({
        "customers": whole(0),
        "ids": SWITCH,
        "chosen": Items(PLAIN),
        "seed": whole(0),
        "resamples": whole(1),
        "baseline": TEXT,
        "churn_baseline": TEXT,
        "shuffle": SWITCH,
        "intervals": Name(("percentile", "bca")),
        "test": Name(("randomisation", "bootstrap")),
        "retrain": Items(TEXT),
        **dict.fromkeys(("baselines", "shop_baselines"), Each(ANY)),
    }),
    "tuning": Needed(Open({"models": Maybe(Items(TEXT)), "storage": Maybe(TEXT), "space": Maybe(Open({}))})),
    "rerank": Each(Needed({"candidates": whole(1), "steps": Needed(ANY)})),  # `reranking.steps`
    "extend": Maybe(TEXT),
    "runs": Maybe(Items(TEXT)),
    "out": Maybe(TEXT),
    "overwrite": SWITCH,
    "run": Maybe(TEXT),
    "name": ANY,  # `export.bundle_name`
    "k": whole(1),
    "golden": whole(1),
    "history": Items(ANY),
    "filter_seen": Maybe(SWITCH),
}  # fmt: skip


def check_config(config: Mapping[str, Any]) -> None:
    """A `UserError` for the first setting of a composed configuration that is of another kind than it must be."""
    for key, shape in SETTINGS.items():
        if key in config:
            check_shape(config[key], shape, WHERE, key)
    if "dataset" in config:
        check_dataset(config["dataset"])
