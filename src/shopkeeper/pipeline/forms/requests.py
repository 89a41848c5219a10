"""What is asked of a split's requests: which items? Fit, answer every one, audit, refit."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.locks import alone
from shopkeeper.models.about import About, Learned
from shopkeeper.models.fit import Fit
from shopkeeper.pipeline import context
from shopkeeper.pipeline.forms.form import Asked, Form, about_of, model_of
from shopkeeper.pipeline.forms.warm_start import check_start, trained_until
from shopkeeper.pipeline.preparing.split import prepare_to_train
from shopkeeper.pipeline.runs import RunFolder, remove_checkpoints
from shopkeeper.pipeline.told import Data, Evaluate, Train

if TYPE_CHECKING:
    from shopkeeper.evaluation.compare import Comparison

log = logging.getLogger(__name__)


def ask(cfg: Train, parts: tuple[str, ...], about: About) -> Asked:
    """The requests of the config's split. With `evaluation.refit`, test is answered by a second fit.

    It is what a shop's dataset says unless it is told, wherever the split has a cutoff until which to train.
    """
    prepared, split = prepare_to_train(cfg)
    told = cfg.evaluation.refit
    refit = (cfg.dataset.refit and split.can_refit if told is None else told) and "test" in parts
    if refit:
        split.until_test()  # refused now where it cannot be, not after hours
    start = check_start(cfg, about.starts_warm, split)
    known = trained_until(split) if not start or start["checked"] else None
    return Asked(
        parts,
        (tuple(part for part in parts if part != "test"), ("test",)) if refit else (parts,),
        prepared,
        split,
        split.name,
        split.protocol,
        split.target_hash(),
        bool(cfg.dataset.filter_seen),
        fit={
            "target_events": tuple(split.timeline["spec"]["target_events"]),
            "filter_seen": bool(cfg.dataset.filter_seen),
            "k": cfg.evaluation.k[0],
        },
        facts={"init_from": start, "trained_until": known},
        about={"init_from": start} if start else {},
    )


def further(cfg: Train, asked: Asked, fit: Fit, learned: Learned, held: ExitStack) -> tuple[Asked, Fit]:
    """All until the test cutoff, with the candidate and for the steps that validation chose."""
    steps, split = learned.steps, asked.of.until_test()
    log.info("training anew on all until the test cutoff%s", f", {steps} steps" if steps else "")
    assert fit.folder is not None
    place = fit.folder.with_name(f"{fit.folder.name}-refit")
    if model_of(cfg).about.resumes:
        held.enter_context(alone(place))
    trainer = replace(fit.trainer, devices=1)  # further processes would read the split from disk
    facts = {**asked.facts, "refit": True, "trained_until": trained_until(split)}
    asked = replace(asked, parts=("test",), of=split, facts=facts, about={**asked.about, "refit": True})
    again = replace(fit, folder=place, steps=steps, epochs=learned.epochs, chosen=learned.chosen)
    again = replace(again, trainer=trainer, init_from=None)
    return asked, again


def fitted(cfg: Train, asked: Asked, fit: Fit, turn: tuple[str, ...]) -> tuple[Any, Learned]:
    """A new model, fitted on the training rows of the split."""
    model, split = model_of(cfg), asked.of
    learned = model.fit(split.prepared, split, fit) or Learned()
    if "refit" in asked.about and fit.folder is not None:
        remove_checkpoints(fit.folder)
    return model, learned


def audit(cfg: Train, asked: Asked, fit: Fit, turn: tuple[str, ...], model: Any, learned: Learned) -> None:
    """Its answers, on all parts that are left; see `audit_recommender`."""
    from shopkeeper.pipeline.audit import audit_recommender

    audit_recommender(cfg, model, learned, asked.of, fit, asked.parts)


def answered(cfg: Train, asked: Asked, model: Any, part: str) -> pa.Table:
    """The rows of a part: every request, ranked."""
    from shopkeeper.evaluation.rows.items import evaluate_requests

    e, about = cfg.evaluation, about_of(cfg, asked)
    refitted = ("refit",) if part == "test" and "refit" in about else ()
    return evaluate_requests(
        model,
        asked.of,
        part,
        k=e.k,
        filter_seen=asked.filter_seen,
        batch_size=e.batch_size,
        ties=e.ties,
        top_k=e.top_k,
        metadata={key: about[key] for key in ("task", "model", "seed", *refitted)},
    )


def alarm(cfg: Train, asked: Asked, table: pa.Table) -> str | None:
    """Better than the oracle of the simulated shop on some of the test requests."""
    from shopkeeper.evaluation.alarms.oracle_alarm import alarm_of_recommender

    options = {"k": cfg.evaluation.k, "filter_seen": asked.filter_seen, "ties": cfg.evaluation.ties}
    return alarm_of_recommender(cfg.model.name, table, asked.of, cfg.task.headline, **options)


def prepare(cfg: Data, prepared: Prepared) -> None:
    """Make the config's split and say what is in it."""
    _, split = prepare_to_train(cfg)
    counts = split.timeline.get("n_requests", {})
    log.info("%s (%s): %s requests; target hash %s", split.name, split.protocol, counts, split.target_hash()[:12])


def data_of(cfg: Data) -> dict[str, Any]:
    """The data that a study's trials are trained and judged on, prepared where that was not done yet."""
    prepared, split = prepare_to_train(cfg)
    return {"fingerprint": prepared.fingerprint, "split": split.name, "targets": split.target_hash()}


def sliced(
    runs: Mapping[str, RunFolder], tables: Mapping[str, pa.Table], prepared: Prepared
) -> tuple[dict[str, pa.Table], Split]:
    """The tables with the slices of their requests, and the split."""
    from shopkeeper.evaluation.rows.slices import add_slices

    split = context.split_of(prepared, next(iter(runs.values())).manifest)
    return {name: add_slices(table, prepared, split, "test") for name, table in tables.items()}, split


def sanity(
    cfg: Evaluate,
    runs: Mapping[str, RunFolder],
    tables: Mapping[str, pa.Table],
    headline: str,
    split: Split | None,
    found: Sequence[Comparison],
    metrics: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """All checks of a board."""
    from shopkeeper.evaluation.leaderboard import leaderboard
    from shopkeeper.pipeline.comparing.checks import sanity_of

    assert split is not None
    boards = leaderboard(tables, headline, split=split, found=found, summary=metrics)
    return sanity_of(cfg, runs, tables, headline, split, boards)


def without_headline(run: RunFolder, first: RunFolder, headline: str, table: pa.Table) -> dict[str, Any]:
    """What stands for the headline of a run that has none: a `UserError`, since it was asked for other cut-offs."""
    from shopkeeper.evaluation.table import metadata_of

    raise UserError(
        f"{run.path} has no {headline}, by which {first.path} is judged: it was evaluated with "
        f"evaluation.k={metadata_of(table).get('k')}; train one of them again with the other's evaluation.k"
    )


def added_runs(cfg: Evaluate, runs: Sequence[RunFolder], folder: Path) -> list[RunFolder]:
    """Runs of the simple baselines that nobody had trained, and of what the config re-ranks, made in `folder`.

    With a placement all runs once more, asked as there.
    """
    from shopkeeper.pipeline.comparing.baselines import missing_baselines, reranked_runs
    from shopkeeper.pipeline.comparing.placements import placed_runs

    if cfg.placement is not None:
        return placed_runs(cfg, runs, folder)
    again = reranked_runs(cfg, runs, folder)  # first: what a step cannot do is said before anything is trained
    return missing_baselines(cfg, runs, folder) + again


def asked_of(run: RunFolder, prepared: Prepared) -> Split:
    """What a run is asked, to hold its bundle against: the requests of its split."""
    return context.split_of(prepared, run.manifest)


FORM = Form(
    prepare=prepare,
    data_of=data_of,
    ask=ask,
    further=further,
    fitted=fitted,
    audit=audit,
    answered=answered,
    alarm=alarm,
    added_runs=added_runs,
    without_headline=without_headline,
    sliced=sliced,
    sanity=sanity,
    asked_of=asked_of,
)
