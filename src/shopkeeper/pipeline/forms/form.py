"""A `Form`: what verbs do differently for tasks asked of requests and for tasks asked of customers.

Which of the two it is, is the task's own business (`tasks.base.Task.asks`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.customers.window import SESSION
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.models.about import AMOUNTS, COUNTS, DAYS, PROBABILITIES, About, Learned
from shopkeeper.models.fit import Fit
from shopkeeper.pipeline import context
from shopkeeper.pipeline.runs import RunFolder
from shopkeeper.pipeline.told import Data, Evaluate, Train
from shopkeeper.tasks.base import CUSTOMERS, REQUESTS, Task
from shopkeeper.tasks.find import find_task

# Models that take seconds, by what a task of customers asks for.
FIRST = {PROBABILITIES: "logistic", COUNTS: "two_part", AMOUNTS: "two_part", DAYS: "quantile_trees"}
# What a form alone runs: no figure of a model of the other form depends on it.
ALONE = {
    REQUESTS: ("shopkeeper.pipeline.forms.requests",),
    CUSTOMERS: (
        "shopkeeper.pipeline.forms.customers",
        "shopkeeper.pipeline.forms.cohorts",
        "shopkeeper.pipeline.forms.item_vectors",
        "shopkeeper.pipeline.forms.table",
        "shopkeeper.customers",
        "shopkeeper.features.customer",
    ),
}
Turns = tuple[tuple[str, ...], ...]
Tables = dict[str, pa.Table]  # by model


@dataclass(frozen=True)
class Asked:
    """What a config asks of its model, and what a run says of that."""

    parts: tuple[str, ...]
    turns: Turns  # the parts, together where one fit answers them
    prepared: Prepared  # the data that the last part is asked on
    of: Any  # the form's own: a `Split`, or cohorts
    split: str  # as the manifest names it
    protocol: str
    target_hash: str
    filter_seen: bool = False
    fit: Mapping[str, Any] = field(default_factory=dict)  # fields of `Fit` beside what every model is given
    facts: Mapping[str, Any] = field(default_factory=dict)  # for `manifest.json`, beside what all runs say
    about: Mapping[str, Any] = field(default_factory=dict)  # the same for `metrics.json`


@dataclass(frozen=True)
class Form:
    """The steps that differ, in the order in which verbs take them."""

    # prepare, tune
    prepare: Callable[[Data, Prepared], None]  # what a task asks, beside the dataset; says what there is
    data_of: Callable[[Data], dict[str, Any]]  # what a study's trials are trained and judged on
    # train
    ask: Callable[[Train, tuple[str, ...], About], Asked]
    further: Callable[[Train, Asked, Fit, Learned, ExitStack], tuple[Asked, Fit]]  # before a second turn
    fitted: Callable[[Train, Asked, Fit, tuple[str, ...]], tuple[Any, Learned]]  # a new model, fitted for a turn
    audit: Callable[[Train, Asked, Fit, tuple[str, ...], Any, Learned], None]
    answered: Callable[[Train, Asked, Any, str], pa.Table]  # a model's rows for a part
    alarm: Callable[[Train, Asked, pa.Table], str | None]  # better on test than who knows
    # evaluate
    added_runs: Callable[[Evaluate, Sequence[RunFolder], Path], list[RunFolder]]  # made in a folder
    without_headline: Callable[[RunFolder, RunFolder, str, pa.Table], dict[str, Any]]  # of a run beside the first one
    sliced: Callable[[Mapping[str, RunFolder], Tables, Prepared], tuple[Tables, Split | None]]
    # `sanity.json`, of (cfg, runs, tables, headline, split, comparisons, figures by run)
    sanity: Callable[..., dict[str, Any]]
    # export
    asked_of: Callable[[RunFolder, Prepared], Any]  # what a run is asked, to hold its bundle against
    # score, of an instant (None: the newest): data of then, who is asked, why each customer is not or "", the instant
    as_of: Callable[[RunFolder, Prepared, int | None], tuple[Prepared, Any, np.ndarray, int | None]] | None = None


def model_of(cfg: Train) -> Any:
    """The config's model, untrained; a `UserError` where what it answers is not what the config's task asks."""
    from shopkeeper.models.make import make

    model, task = make(cfg.model.plain), task_of(cfg)
    if model.about.asks != task.asks:
        raise UserError(
            f"model={cfg.model.name} answers {model.about.asks} with {model.about.answers}, and task={task.name} "
            f"asks {task.asks}; leave task out or choose another model"
        )
    if task.truth is not None and task.truth.answers not in (model.about.answers, *model.about.also):
        raise UserError(
            f"model={cfg.model.name} answers with {' or '.join((model.about.answers, *model.about.also))}, and "
            f"task={task.name} asks for {task.truth.answers}; choose another model, such as {FIRST[task.truth.answers]}"
        )
    if cfg.task.together and not model.about.further:
        raise UserError(
            f"model={cfg.model.name} learns one task alone, and task.together names {', '.join(cfg.task.together)}; "
            f"leave it out, or choose a model with several heads, such as gru"
        )
    of_sessions = task.truth is not None and task.truth.by == SESSION and model.about.sessions
    if task.truth is not None and task.truth.by and not (model.about.pairs or of_sessions):
        raise UserError(
            f"model={cfg.model.name} answers of customers alone, and task={task.name} asks of each customer and "
            f"{task.truth.by}; choose a model that answers from features, such as lightgbm"
        )
    return model


def task_of(cfg: Data) -> Task:
    """The task of a config."""
    return find_task(cfg.task.plain, context.named_targets())


def facts_of(cfg: Train, asked: Asked) -> dict[str, Any]:
    """What a run's manifest and its tracker say about where it comes from."""
    prepared = asked.prepared
    return {
        "task": cfg.task.name,
        "model": cfg.model.name,
        "dataset": prepared.name,
        "dataset_fingerprint": prepared.fingerprint,
        "prepared": context.relative(prepared.path),
        "split": asked.split,
        "protocol": asked.protocol,
        "target_hash": asked.target_hash,
        "erasure_list": prepared.erasure_list,
        **asked.facts,
    }


def about_of(cfg: Train, asked: Asked) -> dict[str, Any]:
    """What `metrics.json` says its figures are of."""
    return {
        "dataset": asked.prepared.name,
        "split": cfg.split.name,
        "protocol": asked.protocol,
        "task": cfg.task.name,
        "model": cfg.model.name,
        "seed": cfg.seed,
        "filter_seen": asked.filter_seen,
        **asked.about,
    }
