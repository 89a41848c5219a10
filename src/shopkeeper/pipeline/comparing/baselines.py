"""The simple baselines that stand in every table: trained on the spot, in seconds, where nobody has trained them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shopkeeper.data.split import Split
from shopkeeper.files import read_json, sha256_file, write_json
from shopkeeper.folders import MANIFEST
from shopkeeper.hashing import sealed
from shopkeeper.models.about import LISTS, Learned
from shopkeeper.models.settings import ModelSettings
from shopkeeper.models.targets import refuse_foreign
from shopkeeper.pipeline import context
from shopkeeper.pipeline.comparing.checks import fit_of
from shopkeeper.pipeline.comparing.choose import headline_of
from shopkeeper.pipeline.runs import RunFolder, declared_facts, write_run
from shopkeeper.pipeline.told import Evaluate
from shopkeeper.shapes import Yaml

log = logging.getLogger(__name__)
NOT_THEIRS = (
    "files",
    "format_version",
    "kind",
    "mlflow_run",
    "mlflow_experiment",
    "alarm",
    "trained_at",
)  # of the run whose facts a baseline's are


def missing_baselines(cfg: Evaluate, runs: Sequence[RunFolder], folder: Path) -> list[RunFolder]:
    """Runs in `folder` of the models in `report.baselines` and of the task's that are not among the runs of a split.

    Where seen items may come back, those in `report.shop_baselines` belong to them.

    They are asked exactly what the first run was asked: same requests, cut-offs, seen-item rule and policy for ties.
    """
    if not runs:
        return []
    have = {run.metrics["model"] for run in runs}
    wanted = list(cfg.report.baselines.values())
    if cfg.task is not None and cfg.task.name == runs[0].task:
        wanted += cfg.task.baselines.values()
    if not runs[0].metrics["filter_seen"]:
        wanted += cfg.report.shop_baselines.values()
    named = context.named_targets()
    for model in wanted:  # a stage's config is a file that a tool wrote
        refuse_foreign(model.plain, "report.baselines", named)
    return [_trained(cfg, model, runs[0], folder / model.name) for model in wanted if model.name not in have]


def _trained(cfg: Evaluate, settings: ModelSettings, like: RunFolder, folder: Path) -> RunFolder:
    from shopkeeper.models.make import make

    log.info("%s is not among the runs: training it for the table", settings.name)
    prepared = context.prepared_of(like.manifest)
    split = context.split_of(prepared, {**like.manifest, "refit": False})
    model = make(settings.plain)
    learned = model.fit(prepared, split, fit_of(like.told, split, folder / "fit")) or Learned()
    parts, headline = {}, headline_of(like)
    auto = {}
    if len(split.part("validation")[0]):  # says which of the baselines is the strongest, before test is looked at
        parts["validation"] = answered(cfg, like, split, model, settings.name, "validation", headline)
        auto["validation"] = learned.left_open
    if like.manifest.get("refit"):
        split, model = context.split_of(prepared, like.manifest), make(settings.plain)
        learned = model.fit(prepared, split, fit_of(like.told, split, folder / "fit")) or Learned()
    auto["test"] = learned.left_open
    parts["test"] = answered(cfg, like, split, model, settings.name, "test")
    config = {**like.config, "model": dict(settings.plain)}
    return like_run(cfg, like, model, settings.name, config, parts, folder, auto)


def reranked_runs(cfg: Evaluate, runs: Sequence[RunFolder], folder: Path) -> list[RunFolder]:
    """Runs in `folder` of each recommender with each of the config's `rerank` behind it, named `<model>+<rerank>`.

    They are asked exactly what the recommender was asked, so that their difference is what another order costs.
    """
    from shopkeeper.pipeline.comparing.order_audit import audit_steps

    made: list[RunFolder] = []
    for name, ordering in cfg.rerank.items():
        for run in runs:
            log.info("%s in the order of %s", run.metrics["model"], name)
            split = context.split_of(context.prepared_of(run.manifest), run.manifest)
            config = {**run.config, "rerank": {**ordering.plain, "name": name}}
            both = f"{run.metrics['model']}+{name}"
            model = replace(run, config=config).model()
            audit_steps(model, both, split)
            parts = {"test": answered(cfg, run, split, model, both, "test")}
            place = folder / both if not (folder / both).exists() else folder / f"{both}-{len(made)}"  # another seed's
            made.append(like_run(cfg, run, model, both, config, parts, place))
    return made


def answered(
    cfg: Evaluate, like: RunFolder, split: Split, model: Any, name: str, part: str, only: str | None = None
) -> pa.Table:
    """A model's table of a part, asked as another run was on test: cut-offs, seen-item rule and policy for ties.

    Where one metric is asked for, others may be left out.
    """
    from shopkeeper.evaluation.rows.items import evaluate_requests
    from shopkeeper.evaluation.table import metadata_of
    from shopkeeper.metrics.ranking import metric_names

    asked = metadata_of(like.table("test"))
    told = {"task": asked.get("task"), "model": name, "seed": like.metrics["seed"]}
    k = next(([cut] for cut in asked["k"] if only in metric_names([cut])), None)
    return evaluate_requests(
        model,
        split,
        part,
        k=tuple(k or asked["k"]),
        beyond=k is None,
        filter_seen=bool(asked["filter_seen"]),
        ties=asked["ties"],
        top_k=0 if k and model.about.answers != LISTS else cfg.evaluation.top_k,  # ranks are counted without lists
        metadata=told | ({"refit": True} if part == "test" and asked.get("refit") else {}),
    )


def like_run(
    cfg: Evaluate,
    like: RunFolder,
    model: Any,
    name: str,
    config: Yaml,
    tables: Mapping[str, pa.Table],
    folder: Path,
    auto: Mapping[str, Mapping[str, Any]] | None = None,
) -> RunFolder:
    """The run of a model, in `folder`, with the facts of another run that answered the same requests.

    `auto`: by part, what was left to the data; None: as of that run, of whose model this one is made.
    """
    from shopkeeper.evaluation.table import summarise

    e = cfg.evaluation
    about = {k: like.metrics[k] for k in ("dataset", "split", "protocol", "task", "seed", "filter_seen", "target_hash")}
    about |= {"refit": True} if like.metrics.get("refit") else {}
    auto = like.metrics.get("auto") if auto is None else auto
    about |= {"auto": dict(auto)} if auto and any(auto.values()) else {}
    figures = {"validation": [headline_of(like)]}
    found = {
        part: summarise(table, figures.get(part), resamples=e.resamples, confidence=e.confidence)
        for part, table in tables.items()
    }
    facts = {k: v for k, v in like.manifest.items() if k not in NOT_THEIRS}
    return write_run(
        folder,
        {**config, "evaluation": cfg.plain["evaluation"]},
        model,
        {**about, "model": name, **found},
        {"test": tables["test"]},
        {**facts, "model": name, "commit": context.git_commit(), **declared_facts(model)},
    )


def numbered(table: pa.Table) -> pa.Table:
    """The table with a number instead of each customer's id, the same in all of a customer's rows; in random order."""
    ids = table["user_id"].combine_chunks().dictionary_encode()
    number = np.random.default_rng(0).permutation(len(ids.dictionary)) + 1
    names = pa.array([f"customer {n}" for n in number.tolist()], pa.string())
    hidden = pa.DictionaryArray.from_arrays(ids.indices, names).dictionary_decode()
    return table.set_column(table.column_names.index("user_id"), "user_id", hidden)


def copy_baseline(run: RunFolder, folder: Path, ids: bool) -> None:
    """A baseline's run into the report; without `ids` its customers have the numbers that they have in the tables."""
    shutil.copytree(run.path, folder)
    if ids:
        return
    pq.write_table(numbered(run.table("test")), folder / "test.parquet")
    manifest = read_json(folder / MANIFEST)
    manifest["files"]["test.parquet"] = sha256_file(folder / "test.parquet")
    write_json(folder / MANIFEST, sealed(manifest))
