"""What is asked of customers: cohorts at rolling cutoffs, fitted on the earlier ones, calibrated on a later one.

With `evaluation.refit` the model that test asks is fitted on all cutoffs that are wholly observed before test, that of
the calibration included, so that no cohort is spent on calibration alone.

Test is the latest window. The validation figures come from a fit on the training cutoffs alone, without calibration,
asked at the calibration cutoff: so the calibration data choose the settings and fit the calibration, and nothing
that test is judged by has been looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from shopkeeper.customers.base import Cohort
from shopkeeper.customers.state import all_blank, too_thin
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.session_rows import none_goes_on
from shopkeeper.data.split import Split
from shopkeeper.features.customer.known import lacking
from shopkeeper.locks import alone
from shopkeeper.models.about import About, Learned, in_words
from shopkeeper.models.fit import Fit
from shopkeeper.pipeline import context
from shopkeeper.pipeline.forms.cohorts import (
    asked_as_of,
    cohort_at,
    known_at,
    truth_of,
    why_not_asked,
    why_nothing,
    windows_of,
)
from shopkeeper.pipeline.forms.form import Asked, Form, about_of, model_of, task_of
from shopkeeper.pipeline.forms.item_vectors import pinned
from shopkeeper.pipeline.forms.warm_start import check_encoder, check_start
from shopkeeper.pipeline.preparing.data import prepare_data
from shopkeeper.pipeline.preparing.split import real_users
from shopkeeper.pipeline.runs import RunFolder, remove_checkpoints
from shopkeeper.pipeline.told import Data, Evaluate, Train
from shopkeeper.timeline import DAY, CustomerWindows, iso

if TYPE_CHECKING:
    from shopkeeper.evaluation.compare import Comparison

log = logging.getLogger(__name__)
JUDGED_ON = {"validation": "calibration", "test": "test"}  # part -> the cohort that it is judged on


@dataclass(frozen=True)
class Cohorts:
    """Who is asked about, at which cutoffs, from the data as they were known then; by part of the windows."""

    windows: CustomerWindows
    known: Mapping[str, Sequence[Prepared]]
    cohort: Mapping[str, Cohort]
    hashes: Mapping[str, str]  # by part of the evaluation
    thin: str = ""  # why nothing is said: too little to learn from


def ask(cfg: Train, parts: tuple[str, ...], about: About) -> Asked:
    """The cohorts of the config's task; test and validation are answered by a fit each."""
    from shopkeeper.evaluation.profit import Profit
    from shopkeeper.evaluation.rows.labels import cohort_hash

    if not about.starts_from:
        check_start(cfg, starts_warm=False)
    profit = Profit.of(cfg.dataset.profit, cfg.dataset.name) if truth_of(cfg).profit else None
    windows = windows_of(cfg, prepare_data(cfg))
    refit = cfg.evaluation.refit and "test" in parts
    left_out = {"test" if "test" not in parts else "", "" if refit else "rolling"}
    start = check_encoder(cfg, about.starts_from, windows.calibration)
    wanted = {part: t for part, t in windows.every.items() if part not in left_out}
    known = {part: [known_at(cfg, t) for t in cutoffs] for part, cutoffs in wanted.items()}
    cohort = {part: cohort_at(cfg, known[part], windows, cutoffs) for part, cutoffs in wanted.items()}
    judged = {part: JUDGED_ON[part] for part in parts}
    hashes = {part: cohort_hash(cohort[on], _external(cfg, known[on][-1])) for part, on in judged.items()}
    spec = context.customer_spec(cfg)
    days = (windows.test - known["train"][0].span[0]) / DAY
    for group, why in lacking(cfg.features, known["train"][0]).items():
        log.info("features.%s is left out: %s", group, why)
    thin = too_thin(cohort["rolling" if refit else "train"], days, spec.min_customers, spec.min_days)
    if thin:
        log.warning("%s: %s; every score stays blank", cfg.dataset.name, thin)
    said: dict[str, Any] = {"windows": windows.as_json()} | ({"refit": True} if refit else {})
    said |= {"init_from": start} if start else {}
    return Asked(
        parts,
        tuple((part,) for part in parts),
        known[judged[parts[-1]]][-1],
        Cohorts(windows, known, cohort, hashes, thin),
        cfg.split.name,
        "strict",
        hashes[parts[-1]],
        facts={
            **said,
            "features": cohort["train"].declared.hash,
            **({"too_thin": thin} if thin else {}),
            "left_out": {part: dict(c.left_out) for part, c in cohort.items() if c.left_out},
        },
        about={**said, "profit": profit.as_json()} if profit else said,
    )


def further(cfg: Train, asked: Asked, fit: Fit, learned: Learned, held: ExitStack) -> tuple[Asked, Fit]:
    """Only the calibration differs for the next part: its curve has been told, its epochs lie in the checkpoint, and
    the candidate that validation chose is kept.

    With `evaluation.refit` the data differ, and it is trained in a place of its own.
    """
    again = replace(fit, chosen=learned.chosen, log=lambda *_: None, trainer=replace(fit.trainer, resume=True))
    if "refit" not in asked.about or fit.folder is None:
        return asked, again
    place = fit.folder.with_name(f"{fit.folder.name}-refit")
    if model_of(cfg).about.resumes:
        held.enter_context(alone(place))
    return asked, replace(again, folder=place)


def audit(cfg: Train, asked: Asked, fit: Fit, turn: tuple[str, ...], model: Any, learned: Learned) -> None:
    """What it says of the part's cohort; see `audit_customer_model`."""
    from shopkeeper.pipeline.audit import audit_customer_model

    of, part, judged = asked.of, turn[0], JUDGED_ON[turn[0]]
    again = partial(_again, cfg, part, of.known[judged][-1])
    cohort = {name: rows for name, rows in of.cohort.items() if part == "test" or name != "rolling"}
    audit_customer_model(
        cfg, model, part, cohort, of.known, of.windows, judged, partial(cohort_at, cfg), again, learned.chosen
    )


def answered(cfg: Train, asked: Asked, model: Any, part: str) -> pa.Table:
    """The rows of a part: every customer of its cohort, with what is expected."""
    from shopkeeper.evaluation.rows.labels import customer_table

    of: Cohorts = asked.of
    rows, prepared = of.cohort[JUDGED_ON[part]], of.known[JUDGED_ON[part]][-1]
    metadata = {key: value for key, value in about_of(cfg, asked).items() if key != "profit"}
    metadata |= {"part": part, "target_hash": of.hashes[part], "oracle": model.about.oracle}
    said = all_blank(model.predict(rows), of.thin)
    return customer_table(prepared, rows, said, metadata, task_of(cfg).slices)


def alarm(cfg: Train, asked: Asked, table: pa.Table) -> str | None:
    """Better than the task's oracle on some of the test cohort."""
    from shopkeeper.evaluation.alarms.oracle_alarm import alarm_of_customer_model

    of, oracle = asked.of, truth_of(cfg).oracle
    if oracle is None:
        return None
    there = table, of.known["test"][-1], of.cohort["test"]
    return alarm_of_customer_model(cfg.model.name, *there, cfg.task.headline, oracle())


def fitted_for(cfg: Train, asked: Asked, fit: Fit, turn: tuple[str, ...]) -> tuple[Any, Learned]:
    """A new model, fitted for the part of a turn."""
    found = fitted(cfg, turn[0], asked.of.cohort, asked.prepared, fit)
    if "refit" in asked.about and turn == ("test",) and fit.folder is not None:
        remove_checkpoints(fit.folder)
    return found


def fitted(cfg: Train, part: str, cohort: Mapping[str, Cohort], prepared: Prepared, fit: Fit) -> tuple[Any, Learned]:
    """The config's model, fitted for a part: on the training cutoffs, for test with calibration as well."""
    model = model_of(cfg)
    if "dataset" in model.about.needs:
        model.bind(prepared)
    choose = model.about.chooses and not fit.chosen
    if choose and part == "test":  # validation is not asked for, and chooses all the same
        first = fitted(cfg, "validation", cohort, prepared, replace(fit, folder=None, log=lambda *_: None))[1]
        fit = replace(fit, chosen=first.chosen)
    if part == "test" and "rolling" in cohort:
        return model, model.fit(cohort["rolling"], None, fit) or Learned()
    calibration = cohort["calibration"] if part == "test" else None
    learned = model.fit(cohort["train"], calibration, fit) or Learned()
    if choose and part == "validation":
        kept = model.choose(cohort["calibration"])
        learned = replace(learned, chosen=kept.chosen, settings={**learned.settings, **kept.settings})
        log.info("chosen on validation: %s", in_words(learned.left_open))
    return model, learned


def _again(cfg: Train, part: str, prepared: Prepared, cohort: Mapping[str, Cohort], fit: Fit) -> Any:
    return fitted(cfg, part, cohort, prepared, fit)[0]


def prepare(cfg: Data, prepared: Prepared) -> None:
    """Build and audit the cohorts of the config's task, and say where they lie."""
    from shopkeeper.pipeline.audit import audit_cohorts

    windows = windows_of(cfg, prepared)
    known = {part: [known_at(cfg, t) for t in cutoffs] for part, cutoffs in windows.parts.items()}
    cohort = {part: cohort_at(cfg, known[part], windows, cutoffs) for part, cutoffs in windows.parts.items()}
    for part, rows in cohort.items():
        for reason, n in rows.left_out.items():
            log.info("%s: %s %s left out", part, f"{n:,}", reason)
        cutoffs = np.unique(rows.cutoff)
        at = f"at {iso(cutoffs[0])}" if len(cutoffs) == 1 else f"at {len(cutoffs)} cutoffs up to {iso(cutoffs[-1])}"
        log.info("%s: %s customers asked %s", part, f"{len(rows):,}", at)
    log.info("audit: customers, features and labels are what the log says")
    if cfg.audit == "full":
        for judged in ("calibration", "test"):
            audit_cohorts(cfg, known, windows, cohort, judged, partial(cohort_at, cfg))
        log.info("audit=full: {'passed': True, 'compared': ['customers', 'customer features', 'labels']}")


def data_of(cfg: Data) -> dict[str, Any]:
    """The data that a study's trials are trained and judged on, prepared where that was not done yet."""
    prepared = prepare_data(cfg)
    found = {"fingerprint": prepared.fingerprint, "windows": windows_of(cfg, prepared).as_json()}
    return found | {"features": pinned(cfg).features.hash}


def sliced(
    runs: Mapping[str, RunFolder], tables: Mapping[str, pa.Table], prepared: Prepared
) -> tuple[dict[str, pa.Table], Split | None]:
    """The tables, which have the slices of their customers, and no split."""
    return dict(tables), None


def sanity(
    cfg: Evaluate,
    runs: Mapping[str, RunFolder],
    tables: Mapping[str, pa.Table],
    headline: str,
    split: Split | None,
    found: Sequence[Comparison],
    metrics: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """How far apart seeds are."""
    from shopkeeper.pipeline.comparing.checks import over_seeds_of

    return {"seeds": over_seeds_of(runs, tables, headline, cfg.evaluation.confidence)}


def without_headline(run: RunFolder, first: RunFolder, headline: str, table: pa.Table) -> dict[str, Any]:
    """What stands for the headline of a run that has none: it scored nobody."""
    return {"value": None, "low": None, "high": None, "n": 0}


def added_runs(cfg: Evaluate, runs: Sequence[RunFolder], folder: Path) -> list[RunFolder]:
    """None: a customer model's baseline is a run like any other."""
    return []


def as_of(run: RunFolder, prepared: Prepared, at: int | None) -> tuple[Prepared, Cohort, np.ndarray, int | None]:
    """Who is asked as of an instant (None: the end of the log), from the data of then, and why each other is not."""
    known, cohort = asked_as_of(run.told, prepared, at)
    if cohort.session is not None:
        none = none_goes_on(cohort.session.shape[1])
        when = windows_of(run.told, prepared).observed_until if at is None else at
        return known, cohort, why_nothing(known, when, none), when
    instant = int(cohort.cutoff[0])
    return known, cohort, why_not_asked(known, instant, cohort.active_events, cohort.active_days), instant


def asked_of(run: RunFolder, prepared: Prepared) -> Cohort:
    """What a run is asked, to hold its bundle against: the cohort that test is judged on."""
    told = run.told
    windows = windows_of(told, prepared)
    return cohort_at(told, [prepared], windows, windows.parts["test"])


def _external(cfg: Data, prepared: Prepared) -> list[str]:
    """External user ids by internal id, before pseudonyms."""
    read = real_users(cfg, prepared)
    return (read() if read else prepared.users["user_id"]).to_pylist()


FORM = Form(
    prepare=prepare,
    data_of=data_of,
    ask=ask,
    further=further,
    fitted=fitted_for,
    audit=audit,
    answered=answered,
    alarm=alarm,
    added_runs=added_runs,
    without_headline=without_headline,
    sliced=sliced,
    sanity=sanity,
    asked_of=asked_of,
    as_of=as_of,
)
