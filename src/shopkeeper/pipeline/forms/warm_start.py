"""Which runs a training may start from (`init_from`): those of its own model that know nothing of what it is asked.

A model about customers may start from a recommender whose training rows end before anybody is judged.
Weights remember. A run that was trained on events after this split's cutoff would bring them into a result that calls
itself strict.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.models.targets import today
from shopkeeper.pipeline import context
from shopkeeper.pipeline.runs import RunFolder, open_run
from shopkeeper.pipeline.told import Train
from shopkeeper.timeline import instant, iso

log = logging.getLogger(__name__)


def check_start(cfg: Train, starts_warm: bool, split: Split | None = None) -> dict[str, Any] | None:
    """What a result says of the run that it started from; None without one.

    A `UserError` where the model cannot start from a run, where the folder holds none of this model, and where its
    training saw what this split asks about, or, under `strict`, where that cannot be told. Under `published` that is
    a warning, and `checked` is false.
    """
    if not cfg.init_from:
        return None
    path, model = cfg.init_from, cfg.model
    if not starts_warm or split is None:
        raise UserError(
            f"init_from={path}: model={model.name} cannot start from another run, model=sasrec can, and "
            f"about customers model=transformer; leave init_from out or change the model"
        )
    try:
        run = open_run(path, [model.target])
    except UserError as e:
        raise UserError(f"init_from={path} is no run of model={model.name}: {e}") from None
    if today(run.config["model"]["target"]) != today(model.target):
        raise UserError(
            f"init_from={path} is a run of model={run.metrics['model']}, not of model={model.name}; "
            f"`shopkeeper runs` lists the runs"
        )
    there, here = f"split={run.metrics['split']}", f"split={cfg.split.name}"
    protocol = str(run.metrics["protocol"])
    if protocol == "published" and split.protocol == "strict":
        raise UserError(
            f"init_from={path} is of protocol=published ({there}), this training of protocol=strict: its data were "
            f"chosen with the whole log; start from a run with split.protocol=strict or leave init_from out"
        )
    if more := _saw_more(run, split):
        raise UserError(
            f"init_from={path} was trained on events ({there}) that {here} asks about or that come after its cutoff; "
            f"start from an earlier run or one with {here}, or leave init_from out"
        )
    if more is None and split.protocol == "strict":
        raise UserError(
            f"init_from={path}: whether its training saw what {here} asks about cannot be told (its data are gone, or "
            f"one of the two has no cutoff in time), and protocol=strict does not guess; train that run again on data "
            f"that are still there, or leave init_from out"
        )
    if more is None:
        log.warning(
            "init_from=%s: whether its training saw what %s asks about cannot be told; the result says so", path, here
        )
    split_there = str(run.metrics["split"])
    return {"run": context.relative(path), "split": split_there, "protocol": protocol, "checked": more is not None}


def check_encoder(cfg: Train, starts_from: Sequence[str], first: int) -> dict[str, Any] | None:
    """As `check_start`, of a model about customers that starts from a recommender's run.

    `starts_from`: targets of the recommenders that it can start from; `first`: the first cutoff at which it is judged.
    """
    if not cfg.init_from:
        return None
    path, model = cfg.init_from, cfg.model
    run = open_run(path, starts_from)
    if today(run.config["model"]["target"]) not in starts_from:
        names = " / ".join(target.rpartition(".")[2] for target in starts_from)
        raise UserError(
            f"init_from={path} is a run of model={run.metrics['model']}, and model={model.name} starts from {names} "
            f"alone; `shopkeeper runs` lists the runs"
        )
    check_learned_before(run, first, f"init_from={path}", "leave init_from out")
    said = {name: str(run.metrics[name]) for name in ("split", "protocol")}
    return {"run": context.relative(path), **said, "checked": True}


def check_learned_before(run: RunFolder, first: int, what: str, instead: str) -> None:
    """A `UserError` unless all that a run learned from lies before the instant `first`, and its catalogue, too.

    `what`: the setting that names it; `instead`: what else a person can do.
    """
    protocol, until = str(run.metrics["protocol"]), run.manifest.get("trained_until")
    if protocol == "published" or until is None:
        raise UserError(
            f"{what} (split={run.metrics['split']}, protocol={protocol}) has no cutoff in time before which all that "
            f"it learned lies; name a run with split=temporal"
        )
    if instant(until, "trained_until") > first:
        raise UserError(
            f"{what} was trained on events until {until}, and the first cutoff is {iso(first)}: it would know what is "
            f"asked; train it with split.validation={iso(first)[:10]} or earlier, or {instead}"
        )


def trained_until(split: Split) -> str | None:
    """The instant before which all training rows lie, as text for a manifest: the data may be gone when it is asked."""
    until = _until(split)
    return None if until is None else iso(until)


def _saw_more(run: RunFolder, split: Split) -> bool | None:
    """Whether a run's training rows hold some that this split's do not; in time where there is a cutoff."""
    try:
        theirs = context.split_of(context.prepared_of(run.manifest), run.manifest)
    except UserError:  # prepared again since
        theirs = None
    said = run.manifest.get("trained_until")
    until = instant(said, "trained_until") if said else None if theirs is None else _until(theirs)
    cutoff = _cutoff(split)
    if until is not None and cutoff is not None:
        return until > cutoff
    if theirs is not None and theirs.prepared.fingerprint == split.prepared.fingerprint:
        return bool((theirs.train_end > split.train_end).any())
    return None


def _cutoff(split: Split) -> int | None:
    cutoffs = split.timeline.get("cutoffs")
    return int(cutoffs["validation"]["us"]) if cutoffs else None


def _until(split: Split) -> int | None:
    times = split.prepared.events.timestamp
    if (cutoff := _cutoff(split)) is not None or times is None:
        return cutoff
    last = split.train_end[split.train_end > split.prepared.offsets[:-1]] - 1
    return int(times[last].max()) + 1 if len(last) else None
