"""`train`: one model on one split; evaluated on validation while training, on test once at the end."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from shopkeeper import tracking
from shopkeeper.errors import UserError
from shopkeeper.files import sha256_json
from shopkeeper.pipeline import context, show
from shopkeeper.pipeline.runs import RunFolder, write_run

log = logging.getLogger(__name__)


def train(config: DictConfig) -> None:
    """The verb: train the model of a config, print its metrics, leave a run folder."""
    from hydra.core.hydra_config import HydraConfig

    cfg = context.plain(config)
    folder = Path(HydraConfig.get().runtime.output_dir)
    run = train_model(cfg, folder)
    print(show.metrics_table(run.metrics))
    log.info("run folder: %s", _relative(folder))


def train_model(cfg: Mapping[str, Any], folder: Path) -> RunFolder:
    """Train what the config asks for into `folder`, whatever its task."""
    context.check_task(cfg)
    if cfg["task"]["name"] == "next_item":
        return train_recommender(cfg, folder)
    from shopkeeper.pipeline.train_customers import train_customer_model

    return train_customer_model(cfg, folder)


def train_recommender(cfg: Mapping[str, Any], folder: Path) -> RunFolder:
    """Fit a recommender, evaluate it request by request, log it, write its run folder."""
    from shopkeeper.evaluation.table import evaluate_requests, summarise
    from shopkeeper.recommenders.base import Fit, make

    prepared = context.open_prepared(cfg)
    split = context.open_split(cfg, prepared)
    model = make(cfg["model"])
    facts = {
        "task": "next_item",
        "model": cfg["model"]["name"],
        "uses_instant": bool(model.uses_instant),
        "dataset": prepared.name,
        "dataset_fingerprint": prepared.fingerprint,
        "prepared": str(prepared.path),
        "split": split.name,
        "protocol": split.protocol,
        "target_hash": split.target_hash(),
        "erasure_list": prepared.manifest.get("erasure_list"),
    }
    checkpoint = checkpoint_folder(cfg, facts)
    with tracking.start(cfg["tracking"], f"{cfg['model']['name']}-{cfg['seed']}", _tracked(cfg)) as tracked:
        tracked.tags({**facts, "commit": context.git_commit(), "run_folder": _relative(folder)})
        fit = Fit(
            seed=int(cfg["seed"]),
            folder=checkpoint,
            trainer=cfg["trainer"],
            target_events=tuple(split.timeline["spec"]["target_events"]),
            filter_seen=bool(cfg["dataset"]["filter_seen"]),
            init_from=Path(cfg["init_from"]) if cfg.get("init_from") else None,
            log=tracked.metrics,
            progress=bool(cfg["progress"]),
        )
        model.fit(prepared, split, fit)
        e = cfg["evaluation"]
        metadata = {"seed": fit.seed, "model": facts["model"]}
        tables = {
            part: evaluate_requests(
                model,
                split,
                part,
                k=tuple(e["k"]),
                filter_seen=fit.filter_seen,
                batch_size=int(e["batch_size"]),
                ties=e["ties"],
                top_k=int(e["top_k"]),
                metadata=metadata,
            )
            for part in ("validation", "test")
        }
        metrics = {
            "dataset": prepared.name,
            "split": cfg["split"]["name"],
            "protocol": split.protocol,
            "task": "next_item",
            "model": facts["model"],
            "seed": fit.seed,
            "filter_seen": fit.filter_seen,
            "target_hash": split.target_hash(),
            **{
                part: summarise(table, resamples=int(e["resamples"]), confidence=float(e["confidence"]))
                for part, table in tables.items()
            },
        }
        tracked.results(metrics)
        run = write_run(folder, cfg, model, metrics, tables, {**facts, "mlflow_run": tracked.run_id}, checkpoint)
        tracked.file(folder / "metrics.json")
        tracked.file(folder / "config.yaml")
    return run


def checkpoint_folder(cfg: Mapping[str, Any], facts: Mapping[str, Any]) -> Path:
    """Where resumable state lies while training: keyed by what decides the weights, outside of any stage's output.

    A killed training is found again by the same command; DVC deletes a stage's outputs before it runs.
    """
    key = sha256_json({k: cfg[k] for k in ("model", "trainer", "seed", "init_from")} | dict(facts))
    return Path(cfg["paths"]["checkpoints"]) / f"{cfg['model']['name']}-{key[:16]}"


def _tracked(cfg: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in cfg.items() if k not in ("paths", "tracking", "progress")}


def _relative(folder: Path) -> str:
    try:
        return str(folder.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(folder)


def find_metric(metrics: Mapping[str, Any], part: str, name: str) -> float:
    """One metric's value out of a `metrics.json`; a `UserError` lists what is there."""
    try:
        return float(metrics[part][name]["value"])
    except KeyError:
        raise UserError(f"no metric '{name}' on {part}; there are {', '.join(metrics.get(part, {}))}") from None
