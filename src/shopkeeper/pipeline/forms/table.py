"""What is asked of a plain table of customers: no cutoffs and windows, but customers who are learnt from and others.

Models are fitted, calibrated, audited and judged as those of a log are. Validation is one part of the customers: it
chooses settings; with `evaluation.refit` it is learnt from then. Nobody comes later than others, so that calibration is
fitted on all who are not judged: on validation, and on what models say in folds of those that are learnt from. Of some
hundred positives of validation alone it may be off by more than a model is that is not calibrated. Where test is asked
in folds (`splits/people.py`), each is answered by a model of its own; the model that is kept has learnt from all.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper import configuration
from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.build_table import (
    alarm_of,
    columns_of,
    encoding_of,
    in_disguise,
    label_of,
    table_cohort,
    times_of,
    unknown_everywhere,
)
from shopkeeper.customers.folds import folds_by_customer
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.features.table import Columns
from shopkeeper.models.about import CUSTOMERS, PROBABILITIES, About, Learned
from shopkeeper.models.fit import Fit, HeldOut
from shopkeeper.pipeline.forms import customers
from shopkeeper.pipeline.forms.cohorts import truth_of
from shopkeeper.pipeline.forms.form import Asked, Form, about_of, model_of, task_of
from shopkeeper.pipeline.forms.warm_start import check_start
from shopkeeper.pipeline.preparing.data import prepare_data, warn_once
from shopkeeper.pipeline.preparing.split import real_users
from shopkeeper.pipeline.runs import RunFolder
from shopkeeper.pipeline.told import Data, Train
from shopkeeper.shapes import Yaml
from shopkeeper.splits.people import People, PeopleSpec, divide

log = logging.getLogger(__name__)
FOLDS = 5  # of customers that are learnt from, in which calibration is asked of them


@dataclass(frozen=True)
class TableParts:
    """A table's customers, by part, with what is true of them."""

    prepared: Prepared
    columns: Columns
    label: np.ndarray  # float64 (customers of the table,)
    people: People
    answers: str
    refit: bool
    hashes: Mapping[str, str]  # by part
    said: dict[str, Predictions]  # by part, as soon as the part's models have been asked

    def cohort(self, rows: np.ndarray, learnt_from: np.ndarray) -> Cohort:
        """Customers at some positions, with features as a model reads them that learns from others."""
        encoding = encoding_of(self.columns, learnt_from)
        return table_cohort(self.prepared, self.columns, encoding, rows, self.label, self.answers)

    def learnt(self, fold: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Positions that a model of test learns from and is calibrated on; `fold`: whom it is asked about."""
        train = self.people.train
        train = train if fold is None else np.setdiff1d(train, fold)
        validation = self.people.validation
        return (np.sort(np.concatenate([train, validation])), None) if self.refit else (train, validation)


def ask(cfg: Train, parts: tuple[str, ...], about: About) -> Asked:
    """The customers of the config's table; test and validation are answered by fits of their own."""
    from shopkeeper.evaluation.profit import Profit
    from shopkeeper.evaluation.rows.labels import cohort_hash

    check_start(cfg, starts_warm=False)
    _check_model(cfg, about)
    of = parts_of(cfg, prepare_data(cfg), refit=bool(cfg.evaluation.refit) and "test" in parts)
    read = real_users(cfg, of.prepared)
    ids = (read() if read else of.prepared.users["user_id"]).to_pylist()
    judged = {"validation": of.people.validation, "test": of.people.test}
    hashes = {part: cohort_hash(of.cohort(judged[part], of.people.train), ids) for part in parts}
    profit = Profit.of(cfg.dataset.profit, cfg.dataset.name) if truth_of(cfg).profit else None
    said: dict[str, Any] = {"divided": of.people.in_words} | ({"refit": True} if of.refit else {})
    unknown = int(np.isnan(of.label).sum())
    return Asked(
        parts,
        tuple((part,) for part in parts),
        of.prepared,
        replace(of, hashes=hashes),
        cfg.split.name,
        "strict",
        hashes[parts[-1]],
        facts={**said, "left_out": {"table": {"label not known": unknown}} if unknown else {}},
        about={**said, "profit": profit.as_json()} if profit else said,
    )


def parts_of(cfg: Data, prepared: Prepared, refit: bool) -> TableParts:
    """The table's customers as the config divides them."""
    task = _declared(cfg)
    columns, label = columns_of(prepared.users), label_of(prepared, task)
    people = divide(label, times_of(prepared), PeopleSpec.of(cfg.split))
    for name in unknown_everywhere(columns):
        warn_once(f"{prepared.name}: nothing is known of anybody in the column '{name}'; it is left out")
    return TableParts(prepared, columns, label, people, truth_of(cfg).answers, refit, {}, {})


def _declared(cfg: Data) -> str:
    """The config's task, if the table has a label for it."""
    labels = cfg.dataset.table.labels if cfg.dataset.table else {}
    task = task_of(cfg)
    if task.name not in labels:
        raise UserError(
            f"dataset={cfg.dataset.name} is a table with a label for task={' and '.join(labels)}, not for "
            f"task={task.name}; choose one of these, or name its column in table.labels"
        )
    if (task.truth is not None and task.truth.answers == PROBABILITIES) != (labels[task.name].one is not None):
        wanted = "needs `one`, the value that is label 1" if labels[task.name].one is None else "takes no `one`"
        raise UserError(f"conf/dataset/{cfg.dataset.name}.yaml: table.labels.{task.name} {wanted}")
    return task.name


def _check_model(cfg: Train, about: About) -> None:
    """A `UserError` for a model that reads events: a table has none."""
    if reads_a_table(about):
        return
    would = []
    for name in configuration.names("model"):
        settings = _settings(name)
        if settings.get("tasks") == CUSTOMERS and reads_a_table(_about(settings)):
            would.append(name)
    raise UserError(
        f"model={cfg.model.name} is trained on a log of events, and dataset={cfg.dataset.name} is a table of "
        f"customers; choose one of {', '.join(would)}"
    )


def reads_a_table(about: About) -> bool:
    """Whether a model answers from features alone."""
    return about.asks == CUSTOMERS and not about.reads and set(about.needs) <= {"features"} and not about.resumes


def _settings(model: str) -> dict[str, Any]:
    import yaml

    path = configuration.find("model", model)
    found = yaml.safe_load(path.read_text(encoding="utf-8")) if path is not None else None
    return {key: value for key, value in (found or {}).items() if key != "defaults"}


def _about(settings: Yaml) -> About:
    from shopkeeper.models.make import make

    about: About = make(settings).about
    return about


def further(cfg: Train, asked: Asked, fit: Fit, learned: Learned, held: ExitStack) -> tuple[Asked, Fit]:
    """The next part has its own fit."""
    return customers.further(cfg, asked, fit, learned, held)


def fitted(cfg: Train, asked: Asked, fit: Fit, turn: tuple[str, ...]) -> tuple[Any, Learned]:
    """A new model, fitted for the part of a turn; whoever the part asks about, it or its fold's model has answered."""
    of: TableParts = asked.of
    if turn[0] == "validation":
        model = model_of(cfg)
        learned = model.fit(of.cohort(of.people.train, of.people.train), None, fit) or Learned()
        of.said["validation"] = model.predict(of.cohort(of.people.validation, of.people.train))
        return model, learned
    test, folds = of.people.test, of.people.folds
    value, reason = np.full(len(test), np.nan), np.full(len(test), "", object)
    model, learned = _fit(cfg, of, *of.learnt(None), fit)
    for fold in folds:
        train, calibration = of.learnt(fold)
        asks = model
        if len(folds) > 1:
            silent = replace(fit, folder=None, log=lambda *_: None, progress=False)
            asks, _ = _fit(cfg, of, train, calibration, silent)
        found = asks.predict(of.cohort(fold, train))
        place = np.searchsorted(test, fold)
        value[place] = found.value
        if found.blank_reason is not None:
            reason[place] = found.blank_reason
    of.said["test"] = Predictions(value, reason.astype(str))
    return model, learned


def _fit(
    cfg: Train, of: TableParts, train: np.ndarray, calibration: np.ndarray | None, fit: Fit
) -> tuple[Any, Learned]:
    model, rows = model_of(cfg), of.cohort(train, train)
    later = None if calibration is None else of.cohort(calibration, train)
    silent = replace(fit, folder=None, log=lambda *_: None, progress=False)

    def held_out() -> HeldOut:
        said = np.full(len(train), np.nan)
        for some, others in folds_by_customer(train, fit.seed, FOLDS):
            fold = model_of(cfg)
            fold.fit(of.cohort(train[some], train[some]), None, silent)
            said[others] = fold.predict(of.cohort(train[others], train[some])).value
        known = ~np.isnan(said)  # a fold may have too few of a class
        return HeldOut(said[known], of.label[train[known]], rows.customer[known])

    return model, model.fit(rows, later, replace(fit, held_out=held_out)) or Learned()


def audit(cfg: Train, asked: Asked, fit: Fit, turn: tuple[str, ...], model: Any, learned: Learned) -> None:
    """That answers do not change with labels; with `audit=full`, that a model learns the same whatever test holds."""
    from shopkeeper.evaluation.alarms.model_audit import audit_predictions, same_predictions

    of, part, name = asked.of, turn[0], cfg.model.name
    learnt_from = of.people.train if part == "validation" else of.learnt(None)[0]
    judged = of.people.validation if part == "validation" else of.people.test
    rows = of.cohort(judged, learnt_from)
    audit_predictions(model, name, rows)
    if cfg.audit != "full" or np.isin(judged, learnt_from).any():
        return
    turned = np.random.default_rng(0).permutation(judged)  # other customers in the place of those who are asked about
    columns = {key: values.copy() for key, values in of.columns.items()}
    label = of.label.copy()
    for values in (*columns.values(), label):
        values[judged] = values[turned]
    other = replace(of, columns=columns, label=label, said={})
    again, _ = fitted(cfg, replace(asked, of=other), Fit(seed=cfg.seed, progress=False), turn)
    same_predictions(model, again, name, rows, f"{part}: its own customers")


def answered(cfg: Train, asked: Asked, model: Any, part: str) -> pa.Table:
    """The rows of a part: every customer of it, with what is expected."""
    from shopkeeper.evaluation.rows.labels import customer_table

    of: TableParts = asked.of
    rows = of.cohort(of.people.validation if part == "validation" else of.people.test, of.people.train)
    metadata = {key: value for key, value in about_of(cfg, asked).items() if key != "profit"}
    metadata |= {"part": part, "target_hash": of.hashes[part], "oracle": model.about.oracle}
    return customer_table(of.prepared, rows, of.said[part], metadata, task_of(cfg).slices)


def alarm(cfg: Train, asked: Asked, table: pa.Table) -> str | None:
    """A column that alone tells the label."""
    of: TableParts = asked.of
    return _disguise(of) if of.answers == PROBABILITIES else None


def _disguise(of: TableParts) -> str | None:
    train = of.people.train
    return alarm_of(in_disguise(of.columns, encoding_of(of.columns, train), train, of.label), of.prepared.name)


def prepare(cfg: Data, prepared: Prepared) -> None:
    """Say how many customers there are by part and label, and which columns look odd."""
    assert cfg.dataset.table is not None
    labels = cfg.dataset.table.labels
    asked = task_of(cfg).name
    for task in [asked] if asked in labels else list(labels):
        label = label_of(prepared, task)
        people = divide(label, times_of(prepared), PeopleSpec.of(cfg.split))
        log.info("%s, %s", task, people.in_words)
        for part in ("train", "validation", "test"):
            rows = getattr(people, part)
            log.info("  %s: %s customers, mean label %.4g", part, f"{len(rows):,}", label[rows].mean())
        if unknown := int(np.isnan(label).sum()):
            log.info("  %s customers whose label is not known are neither trained nor judged on", f"{unknown:,}")
        if labels[task].one is not None:
            columns = columns_of(prepared.users)
            found = in_disguise(columns, encoding_of(columns, people.train), people.train, label)
            if said := alarm_of(found, prepared.name):
                log.warning("alarm: %s", said)
    for name in unknown_everywhere(columns_of(prepared.users)):
        warn_once(f"{prepared.name}: nothing is known of anybody in the column '{name}'; it is left out")


def data_of(cfg: Data) -> dict[str, Any]:
    """The data that a study's trials are trained and judged on."""
    prepared = prepare_data(cfg)
    of = parts_of(cfg, prepared, refit=False)
    return {"fingerprint": prepared.fingerprint, "divided": of.people.in_words, "split": dict(cfg.split.plain)}


def asked_of(run: RunFolder, prepared: Prepared) -> Cohort:
    """What a run is asked, to hold its bundle against: the customers of test."""
    of = parts_of(run.told, prepared, refit=bool(run.manifest.get("refit")))
    return of.cohort(of.people.test, of.learnt(None)[0])


def as_of(run: RunFolder, prepared: Prepared, at: int | None) -> tuple[Prepared, Cohort, np.ndarray, int | None]:
    """Everybody in the table, whether their label is known or not; a table knows of no instant."""
    if at is not None:
        raise UserError(f"{run.path} is of a table of customers, which says how they are and not when; leave at out")
    of = parts_of(run.told, prepared, refit=bool(run.manifest.get("refit")))
    cohort = replace(of.cohort(np.arange(prepared.n_users), of.learnt(None)[0]), label=None)
    return prepared, cohort, np.full(prepared.n_users, "", object), None


FORM = Form(
    prepare=prepare,
    data_of=data_of,
    ask=ask,
    further=further,
    fitted=fitted,
    audit=audit,
    answered=answered,
    alarm=alarm,
    added_runs=customers.added_runs,
    without_headline=customers.without_headline,
    sliced=customers.sliced,
    sanity=customers.sanity,
    asked_of=asked_of,
    as_of=as_of,
)
