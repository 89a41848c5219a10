"""What the verbs do for tasks that are asked of a split's requests: fit, answer every one, audit, refit."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from shopkeeper.data.prepared import Prepared, Split
from shopkeeper.errors import UserError
from shopkeeper.locks import alone
from shopkeeper.models.about import Learned
from shopkeeper.pipeline import context
from shopkeeper.pipeline.forms import Result, model_of
from shopkeeper.pipeline.forms.fitting import TellEpoch, fit_of, forgotten_if_it_fails
from shopkeeper.pipeline.prepare import prepare_to_train
from shopkeeper.pipeline.runs import RunFolder, declared_facts, remove_checkpoints
from shopkeeper.pipeline.told import Data, Evaluate, Train
from shopkeeper.pipeline.warm_start import check_start, trained_until

log = logging.getLogger(__name__)


def train(cfg: Train, parts: Sequence[str], log_epoch: TellEpoch, held: ExitStack) -> Result:
    """Fit a recommender and answer every request of the parts.

    Until `held` is closed, the checkpoints are this process' alone.
    """
    from shopkeeper.evaluation.oracle_alarm import alarm_of_recommender
    from shopkeeper.evaluation.rows.items import evaluate_requests
    from shopkeeper.evaluation.table import summarise
    from shopkeeper.pipeline.audit import audit_recommender, say

    prepared, split = prepare_to_train(cfg)
    later = split.until_test() if cfg.evaluation.refit and "test" in parts else None  # said before hours pass
    model = model_of(cfg)
    start = check_start(cfg, model.about.starts_warm, split)
    facts = _facts(cfg, prepared, split) | {**declared_facts(model), "init_from": start}
    if start and not start["checked"]:
        facts["trained_until"] = None
    asked: dict[str, Any] = {
        "target_events": tuple(split.timeline["spec"]["target_events"]),
        "filter_seen": bool(cfg.dataset["filter_seen"]),
        "k": cfg.evaluation.k[0],
    }
    fit = fit_of(cfg, facts, model, log_epoch, held, **asked)
    with forgotten_if_it_fails(fit, parts):
        learned = model.fit(prepared, split, fit) or Learned()
    audit_recommender(cfg, model, learned, split, fit, parts)
    e = cfg.evaluation

    def table(part: str, **told: Any) -> pa.Table:
        return evaluate_requests(
            model,
            split,
            part,
            k=e.k,
            filter_seen=fit.filter_seen,
            batch_size=e.batch_size,
            ties=e.ties,
            top_k=e.top_k,
            metadata={"task": facts["task"], "model": facts["model"], "seed": fit.seed, **told},
        )

    tables = {part: table(part) for part in parts if part != "test" or later is None}
    if later is not None:
        split = later
        facts |= {"refit": True, "trained_until": trained_until(split)}
        again = replace(fit, steps=learned.steps, chosen=learned.chosen, init_from=None)
        model, learned = _refitted(cfg, learned, split, fit, held)
        audit_recommender(cfg, model, learned, split, again, ("test",))
        tables["test"] = table("test", refit=True)
    metrics: dict[str, Any] = {
        "dataset": prepared.name,
        "split": cfg.split["name"],
        "protocol": split.protocol,
        "task": cfg.task.name,
        "model": facts["model"],
        "seed": fit.seed,
        "filter_seen": fit.filter_seen,
        "confidence": e.confidence,
        "target_hash": split.target_hash(),
    }
    if later is not None:
        metrics["refit"] = True
    if start:
        metrics["init_from"] = start
    if "test" in tables:
        options = {"k": e.k, "filter_seen": fit.filter_seen, "ties": e.ties}
        headline = cfg.task.headline
        facts |= say(alarm_of_recommender(facts["model"], tables["test"], split, headline, **options))
    for part, table in tables.items():
        metrics[part] = summarise(table, resamples=e.resamples, confidence=e.confidence)
    return Result(model, learned, facts, metrics, tables)


def prepare(cfg: Data, prepared: Prepared) -> None:
    """Make the config's split and say what is in it."""
    _, split = prepare_to_train(cfg)
    counts = split.timeline.get("n_requests", {})
    log.info("%s (%s): %s requests; target hash %s", split.name, split.protocol, counts, split.target_hash()[:12])


def data_of(cfg: Data) -> dict[str, Any]:
    """The data that a study's trials are trained and judged on, prepared where that was not done yet."""
    prepared, split = prepare_to_train(cfg)
    return {"fingerprint": prepared.fingerprint, "split": split.name, "targets": split.target_hash()}


def compared(
    cfg: Evaluate,
    runs: Mapping[str, RunFolder],
    tables: Mapping[str, pa.Table],
    headline: str,
    prepared: Prepared,
    options: Mapping[str, Any],
) -> tuple[dict[str, pa.Table], list[dict[str, Any]], dict[str, Any], Split | None]:
    """The tables with their slices, comparisons on the headline, `sanity.json`, and the split."""
    from shopkeeper.evaluation.leaderboard import leaderboard
    from shopkeeper.evaluation.rows.slices import add_slices
    from shopkeeper.pipeline.comparing.checks import sanity_of

    split = context.split_of(prepared, next(iter(runs.values())).manifest)
    sliced = {name: add_slices(table, prepared, split, "test") for name, table in tables.items()}
    boards = leaderboard(sliced, headline, split=split, **options)
    return sliced, boards["comparisons"], sanity_of(cfg, runs, sliced, headline, split, boards), split


def without_headline(run: RunFolder, first: RunFolder, headline: str, table: pa.Table) -> dict[str, Any]:
    """What stands for the headline of a run that has none: a `UserError`, since it was asked for other cut-offs."""
    from shopkeeper.evaluation.table import metadata_of

    raise UserError(
        f"{run.path} has no {headline}, by which {first.path} is judged: it was evaluated with "
        f"evaluation.k={metadata_of(table).get('k')}; train one of them again with the other's evaluation.k"
    )


def added_runs(cfg: Evaluate, runs: Sequence[RunFolder], folder: Path) -> list[RunFolder]:
    """Runs of the simple baselines that nobody had trained, and of what the config re-ranks, made in `folder`."""
    from shopkeeper.pipeline.comparing.baselines import missing_baselines, reranked_runs

    return missing_baselines(cfg, runs, folder) + reranked_runs(cfg, runs, folder)


def asked_of(run: RunFolder, prepared: Prepared) -> Split:
    """What a run is asked, to hold its bundle against: the requests of its split."""
    return context.split_of(prepared, run.manifest)


def _refitted(cfg: Train, chosen: Learned, split: Split, fit: Any, held: ExitStack) -> tuple[Any, Learned]:
    """A new model trained on all until the test cutoff, with the candidate and for the steps that validation chose."""
    model, steps = model_of(cfg), chosen.steps
    log.info("training anew on all until the test cutoff%s", f", {steps} steps" if steps else "")
    place = fit.folder.with_name(f"{fit.folder.name}-refit")
    if model.about.resumes:
        held.enter_context(alone(place))
    trainer = {**fit.trainer, "devices": 1}  # further processes would read the split from disk
    again = replace(fit, folder=place, steps=steps, chosen=chosen.chosen, trainer=trainer, init_from=None)
    learned = model.fit(split.prepared, split, again) or Learned()
    remove_checkpoints(place)
    return model, learned


def _facts(cfg: Train, prepared: Prepared, split: Split) -> dict[str, Any]:
    """What a run's manifest and its tracker say about where it comes from."""
    return {
        "task": cfg.task.name,
        "model": cfg.model.name,
        "dataset": prepared.name,
        "dataset_fingerprint": prepared.fingerprint,
        "prepared": context.relative(prepared.path),
        "split": split.name,
        "protocol": split.protocol,
        "target_hash": split.target_hash(),
        "erasure_list": prepared.erasure_list,
        "trained_until": trained_until(split),
    }
