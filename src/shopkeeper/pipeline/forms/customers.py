"""What the verbs do for tasks that are asked of customers.

Cohorts at rolling cutoffs: fitted on the earlier ones, calibrated on a later one.

Test is the latest window. The validation figures come from a fit on the training cutoffs alone, without calibration,
asked at the calibration cutoff: so the calibration data choose the settings and fit the calibration, and nothing
that test is judged by has been looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from shopkeeper.customers.audit import audit_cohort
from shopkeeper.customers.base import Cohort
from shopkeeper.customers.build_cohort import build_cohort, join_cohorts
from shopkeeper.data.prepared import Prepared, Split
from shopkeeper.models.about import Learned
from shopkeeper.models.fit import Fit
from shopkeeper.pipeline import context
from shopkeeper.pipeline.forms import Result, model_of, task_of
from shopkeeper.pipeline.forms.fitting import TellEpoch, fit_of, forgotten_if_it_fails
from shopkeeper.pipeline.prepare import prepare_data, real_users, say_ends
from shopkeeper.pipeline.runs import RunFolder, declared_facts
from shopkeeper.pipeline.told import Data, Evaluate, Train
from shopkeeper.pipeline.warm_start import check_start
from shopkeeper.tasks.base import Truth
from shopkeeper.timeline import CustomerWindows, customer_windows, instant

JUDGED_ON = {"validation": "calibration", "test": "test"}  # part -> the cohort that it is judged on


def train(cfg: Train, parts: Sequence[str], log_epoch: TellEpoch, held: ExitStack) -> Result:
    """Fit a customer model and score the cohorts of the parts."""
    from shopkeeper.evaluation.oracle_alarm import alarm_of_customer_model
    from shopkeeper.evaluation.profit import Profit
    from shopkeeper.evaluation.rows.labels import cohort_hash, customer_table
    from shopkeeper.evaluation.table import summarise
    from shopkeeper.pipeline.audit import audit_customer_model, say

    check_start(cfg, starts_warm=False)
    truth = truth_of(cfg)
    profit = Profit.of(cfg.dataset) if truth.profit else None
    windows = windows_of(cfg, prepare_data(cfg))
    wanted = {part: t for part, t in windows.parts.items() if part != "test" or "test" in parts}
    known = {part: [known_at(cfg, t) for t in cutoffs] for part, cutoffs in wanted.items()}
    cohort = {part: cohort_at(cfg, known[part], windows, cutoffs) for part, cutoffs in wanted.items()}
    asked = JUDGED_ON
    data = {part: known[asked[part]][-1] for part in parts}
    hashes = {part: cohort_hash(cohort[asked[part]], _external(cfg, data[part])) for part in parts}
    prepared = data[parts[-1]]
    facts = {
        "task": cfg.task.name,
        "model": cfg.model.name,
        "dataset": prepared.name,
        "dataset_fingerprint": prepared.fingerprint,
        "prepared": context.relative(prepared.path),
        "split": cfg.split["name"],
        "protocol": "strict",
        "target_hash": hashes[parts[-1]],
        "windows": windows.as_json(),
        "left_out": {part: dict(c.left_out) for part, c in cohort.items() if c.left_out},
        "erasure_list": prepared.erasure_list,
    }
    about = {k: facts[k] for k in ("dataset", "split", "protocol", "task", "model", "windows")}
    about |= {"seed": cfg.seed, "filter_seen": False}
    fit = fit_of(cfg, facts, model_of(cfg), log_epoch, held)
    tables: dict[str, pa.Table] = {}
    for part in parts:
        with forgotten_if_it_fails(fit, parts):
            model, learned = fitted(cfg, part, cohort, prepared, fit)
        # Only the calibration differs for the next part: its curve has been told, its epochs lie in the checkpoint.
        fit = replace(fit, log=lambda *_: None, trainer={**fit.trainer, "resume": True})
        rows = cohort[asked[part]]
        audit_customer_model(cfg, model, part, cohort, known, windows)
        metadata = {**about, "part": part, "target_hash": hashes[part], "oracle": model.about.oracle}
        tables[part] = customer_table(data[part], rows, model.predict(rows), metadata, task_of(cfg).slices)
    if "test" in tables and truth.oracle is not None:
        asked_of = (tables["test"], data["test"], cohort["test"], cfg.task.headline)
        facts |= say(alarm_of_customer_model(facts["model"], *asked_of, truth.oracle()))
    e = cfg.evaluation
    metrics: dict[str, Any] = {**about, "target_hash": facts["target_hash"], "confidence": e.confidence}
    if profit:
        metrics["profit"] = profit.as_json()
    options: dict[str, Any] = {"resamples": e.resamples, "confidence": e.confidence, "profit": profit}
    for part, table in tables.items():
        metrics[part] = summarise(table, **options)
    return Result(model, learned, {**facts, **declared_facts(model)}, metrics, tables)


def fitted(cfg: Train, part: str, cohort: Mapping[str, Cohort], prepared: Prepared, fit: Fit) -> tuple[Any, Learned]:
    """The config's model, fitted for a part: on the training cutoffs, for test with calibration as well."""
    model = model_of(cfg)
    if "dataset" in model.about.needs:
        model.bind(prepared)
    calibration = cohort["calibration"] if part == "test" else None
    return model, model.fit(cohort["train"], calibration, fit) or Learned()


def truth_of(cfg: Data) -> Truth:
    """What the config's task holds to be true of customers."""
    truth = task_of(cfg).truth
    assert truth is not None, "a task about customers says what is true of them"
    return truth


def prepare(cfg: Data, prepared: Prepared) -> None:
    """Build and audit the cohorts of the config's task, and say where they lie."""
    from shopkeeper.pipeline.audit import prepare_customers

    prepare_customers(cfg, prepared)


def data_of(cfg: Data) -> dict[str, Any]:
    """The data that a study's trials are trained and judged on, prepared where that was not done yet."""
    prepared = prepare_data(cfg)
    return {"fingerprint": prepared.fingerprint, "windows": windows_of(cfg, prepared).as_json()}


def compared(
    cfg: Evaluate,
    runs: Mapping[str, RunFolder],
    tables: Mapping[str, pa.Table],
    headline: str,
    prepared: Prepared,
    options: Mapping[str, Any],
) -> tuple[dict[str, pa.Table], list[dict[str, Any]], dict[str, Any], Split | None]:
    """The tables with their slices, comparisons (on the headline, and on the task's aggregates as a second family),
    `sanity.json`, and the split."""
    from shopkeeper.evaluation.aggregates import compare
    from shopkeeper.pipeline.comparing.checks import over_seeds_of

    found = compare(tables, [headline, *next(iter(runs.values())).about.aggregates], **options)
    seeds = over_seeds_of(runs, tables, headline, options["confidence"])
    return dict(tables), [c.as_dict() for c in found], {"seeds": seeds}, None


def without_headline(run: RunFolder, first: RunFolder, headline: str, table: pa.Table) -> dict[str, Any]:
    """What stands for the headline of a run that has none: it scored nobody."""
    return {"value": None, "low": None, "high": None, "n": 0}


def added_runs(cfg: Evaluate, runs: Sequence[RunFolder], folder: Path) -> list[RunFolder]:
    """None: a customer model's baseline is a run like any other."""
    return []


def windows_of(cfg: Data, prepared: Prepared) -> CustomerWindows:
    """Cutoffs of the config's task on this data."""
    if prepared.events.timestamp is None:
        raise context.needs_time(prepared.name, cfg.task.name)
    spec = context.customer_spec(cfg)
    until = spec.observed_until if spec.observed_until is not None else spec.test
    say_ends(cfg, prepared, customers=True, end=None if until is None else instant(until, "observed_until"))
    return customer_windows(spec, *prepared.span)


def known_at(cfg: Data, cutoff: int) -> Prepared:
    """The dataset as it was known at a cutoff: the same for all, unless customers' keys are joined as of each."""
    return prepare_data(cfg, cutoff if context.known_per_cutoff(cfg) else None)


def cohort_at(cfg: Data, known: Sequence[Prepared], windows: CustomerWindows, cutoffs: Sequence[int]) -> Cohort:
    """The labelled cohort of some cutoffs, each from the dataset as it was known then."""
    spec, label = context.customer_spec(cfg), truth_of(cfg).label

    def build(prepared: Prepared, at: Sequence[int]) -> Cohort:
        until = windows.observed_until
        cohort = build_cohort(prepared, at, spec.horizon_days, spec.active_days, observed_until=until, truth=label)
        audit_cohort(prepared, cohort, spec.active_days, truth=label)
        return cohort

    if len({p.path for p in known}) == 1:
        return build(known[0], cutoffs)
    return join_cohorts([(p, build(p, [t])) for p, t in zip(known, cutoffs, strict=True)])


def asked_of(run: RunFolder, prepared: Prepared) -> Cohort:
    """What a run is asked, to hold its bundle against: the cohort that test is judged on."""
    told = run.told
    windows = windows_of(told, prepared)
    return cohort_at(told, [prepared], windows, windows.parts["test"])


def _external(cfg: Data, prepared: Prepared) -> list[str]:
    """External user ids by internal id, before pseudonyms."""
    read = real_users(cfg, prepared)
    return (read() if read else prepared.users["user_id"]).to_pylist()
