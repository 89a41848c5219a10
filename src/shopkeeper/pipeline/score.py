"""`score`: what a finished run says of every customer as of today: the end of the log, or an instant that is told.

Cohort and features are those of training and evaluation; only labels are missing, since nothing has happened yet. Whom
evaluation would not ask about is in the table with a blank and the reason.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from omegaconf import DictConfig

from shopkeeper.campaigns.sheets import write_sheet
from shopkeeper.customers.base import Cohort
from shopkeeper.customers.state import all_blank
from shopkeeper.customers.waits.days import LEVELS, MEDIAN
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.files import atomic_file
from shopkeeper.models.about import PROBABILITIES
from shopkeeper.pipeline import context, places, show
from shopkeeper.pipeline.comparing.commands import list_next
from shopkeeper.pipeline.forms import form_of
from shopkeeper.pipeline.runs import RunFolder, open_run, say_contradictions
from shopkeeper.pipeline.told import Score, settings
from shopkeeper.schema import MICROSECONDS_PER_DAY
from shopkeeper.tasks.base import REQUESTS
from shopkeeper.timeline import iso
from shopkeeper.timeline.instants import instant
from shopkeeper.timeline.zones import clock

SCORES = "scores"  # the folder below paths.outputs
log = logging.getLogger(__name__)
SUFFIXES = (".parquet", ".csv")


def _of_customers(run: places.Listed) -> bool:
    return places.asked_of(run) not in ("", REQUESTS)


def score(config: DictConfig) -> None:
    """The verb: write the table, and say how many customers have a score and why others have none."""
    cfg = settings(config, Score)
    root = cfg.paths.runs
    place = places.meant(cfg.run, root, cfg.plain, _of_customers)
    run = open_run(place, context.named_targets())
    say_contradictions(cfg.plain, [run])
    if run.about.asks == REQUESTS:
        raise UserError(f"{run.path} recommends items and says nothing about customers; give the run of such a task")
    context.say_if_raw_changed(run.manifest, cfg.paths.raw)
    said = said_as_of(run, cfg.at)
    table, at = _table(run, said), said.as_of
    day = "" if at is None else f"-{clock(at, said.prepared.zone):%Y-%m-%d}"
    model, own = str(run.metrics["model"]), run.path.name
    name = f"{run.metrics['dataset']}-{run.task}-{own if own.startswith(model) else model}{day}.parquet"
    path = cfg.to or cfg.paths.outputs / SCORES / name
    write_scores(table, path)
    scored = pc.sum(pc.equal(table["blank_reason"], "")).as_py() or 0
    when = "" if at is None else f"as of {iso(at)}: "
    of = "pairs" if "subject" in table.column_names else "customers"
    log.info("%s%s of %s %s have a score", when, f"{scored:,}", f"{table.num_rows:,}", of)
    for line in show.why_blank(table):
        log.info("  %s", line)
    log.info("scores: %s", context.relative(path))
    if at is not None and said.cohort.of_nothing == 1 and path.suffix == ".parquet":  # who leaves
        told = None if cfg.at is None else at
        words = list_next(cfg, said.prepared.name, path, told, said.prepared.consent is not None)
        log.info("next: %s", shlex.join(words))


def scores_of(run: RunFolder, at: Any = None) -> tuple[pa.Table, int | None]:
    """One row per customer of the run's data, in the order of internal ids, and the instant (µs) that is asked about;
    None of a table of customers, which knows of none. Of a task by category or item one for each of them.

    Columns: `user_id`, of such a task `subject` (null of who is not asked), `probability` or `expected` (null where
    blank), of models that say so `low` and `high` (the interval that holds four of five; null where blank or not
    bounded), of days `days_10` to `days_90` (null where blank, or after the window) and `date`, that of the median,
    those of `task.together` by the task's name, `blank_reason` ("" where there is a score).

    Raises:
        UserError: an instant beyond the log, or nobody to ask about.
    """
    said = said_as_of(run, at)
    return _table(run, said), said.as_of


def _table(run: RunFolder, said: Said) -> pa.Table:
    prepared, cohort, as_of = said.prepared, said.cohort, said.as_of
    column = "probability" if cohort.answers == PROBABILITIES else "expected"
    bounds = {name: _column(b) for name, b in (("low", said.low), ("high", said.high)) if b is not None}
    if said.quantile is not None:
        assert as_of is not None, "days are asked of a log"
        bounds |= days_until(said.quantile, cohort.horizon_days, as_of)
    subject = {}
    if cohort.subject is not None:
        number = np.where(said.row >= 0, cohort.subject[said.row], 0)
        subject["subject"] = pa.array(np.array(("", *cohort.subjects))[number], mask=number == 0)
    bounds |= {name: _column(values) for name, values in said.further.items()}
    metrics = run.metrics
    about = {key: metrics[key] for key in ("dataset", "task", "model", "seed")}
    about |= {"as_of": None if as_of is None else iso(as_of), "horizon_days": cohort.horizon_days}
    about |= {"answers": cohort.answers, "leaving": cohort.of_nothing == 1, "fingerprint": prepared.fingerprint}
    table = pa.table(
        {
            "user_id": prepared.users["user_id"].combine_chunks().cast(pa.string()).take(pa.array(said.user)),
            **subject,
            column: _column(said.value),
            **bounds,
            "blank_reason": pa.array(said.reason.tolist(), pa.string()),
        }
    )
    return table.replace_schema_metadata({"shopkeeper": json.dumps(about, sort_keys=True)})


def days_until(quantile_nQ: np.ndarray, horizon_days: float, as_of: int) -> dict[str, pa.Array]:
    """Quantiles of days that lie in the window, and the day of the median."""
    inside = np.where(quantile_nQ < horizon_days, quantile_nQ, np.nan)
    days = {f"days_{100 * level:.0f}": _column(inside[:, q]) for q, level in enumerate(LEVELS)}
    median = np.nan_to_num(inside[:, MEDIAN])
    date = as_of + np.rint(median * MICROSECONDS_PER_DAY).astype(np.int64)
    at = pa.array(date, mask=np.isnan(inside[:, MEDIAN])).cast(pa.timestamp("us", tz="UTC"))
    return {**days, "date": at}


@dataclass(frozen=True)
class Said:
    """What a run says of the U customers of its data, by internal id; of a task by category or item of U pairs."""

    prepared: Prepared
    model: Any
    cohort: Cohort  # those who were asked about
    user: np.ndarray  # int64 (U,): internal ids less 1; all of them, of pairs as often as they are asked
    row: np.ndarray  # int64 (U,): their rows of the cohort, -1 of all others
    value: np.ndarray  # float64 (U,), NaN where blank
    reason: np.ndarray  # str object (U,), "" where there is a score
    low: np.ndarray | None
    high: np.ndarray | None
    quantile: np.ndarray | None  # float64 (U, Q) of days until the next order, at the model's levels
    further: Mapping[str, np.ndarray]  # float64 (U,) by task: of those that the model learned beside its own
    as_of: int | None


def said_as_of(run: RunFolder, at: Any = None) -> Said:
    """Ask a run about everybody as of an instant, see `scores_of`."""
    trained_on = context.prepared_of(run.manifest)
    when = None if at is None else instant(at, "at", trained_on.zone)
    ask = form_of(run.about, run.told.dataset).as_of
    assert ask is not None, "a run of a recommender was refused"
    prepared, cohort, left_out, as_of = ask(run, trained_on, when)
    model = run.model()
    found = all_blank(model.predict(cohort), str(run.manifest.get("too_thin") or ""))
    others = np.setdiff1d(np.arange(prepared.n_users), cohort.customer - 1)
    user, row = np.append(cohort.customer - 1, others), np.append(np.arange(len(cohort)), np.full(len(others), -1))
    order = np.argsort(user, kind="stable")
    user, row = user[order], row[order]
    asked = row >= 0
    reasons = np.full(len(cohort), "") if found.blank_reason is None else found.blank_reason
    value, low, high = (
        None if b is None else np.where(asked, b[row], np.nan) for b in (found.value, found.low, found.high)
    )
    assert value is not None
    days = None if found.quantile is None else np.where(asked[:, None], found.quantile[row], np.nan)
    further = {name: np.where(asked, values[row], np.nan) for name, values in found.further.items()}
    reason = np.where(asked, reasons[row].astype(object), left_out[user])
    return Said(prepared, model, cohort, user, row, value, reason, low, high, days, further, as_of)


def _column(value: np.ndarray) -> pa.Array:
    """Null where there is no finite number."""
    return pa.array(np.where(np.isfinite(value), value, 0.0), mask=~np.isfinite(value))


def write_scores(table: pa.Table, path: Path) -> None:
    """As Parquet or, by its suffix, as CSV, where an id that a spreadsheet would run gets an apostrophe before it."""
    if path.suffix not in SUFFIXES:
        raise UserError(f"to={path} ends in none of {', '.join(SUFFIXES)}; give the file one of these endings")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as tmp:
        if path.suffix == ".parquet":
            pq.write_table(table, tmp)
            return
        write_sheet(table, tmp)
