"""Whom a task about customers asks about: customers, pairs or sessions at the config's cutoffs, and their audit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from shopkeeper.customers.audit import audit_cohort, audit_pairs
from shopkeeper.customers.base import Cohort, Further
from shopkeeper.customers.build_cohort import NobodyAskedError, build_cohort, join_cohorts, window_labels
from shopkeeper.customers.build_sessions import audit_sessions, build_sessions, open_sessions
from shopkeeper.customers.subjects import Subjects, paired, subjects_of
from shopkeeper.customers.window import SESSION
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.models.about import DAYS
from shopkeeper.pipeline import context
from shopkeeper.pipeline.forms.form import task_of
from shopkeeper.pipeline.forms.item_vectors import declared_of
from shopkeeper.pipeline.preparing.data import prepare_data
from shopkeeper.pipeline.preparing.split import say_ends
from shopkeeper.pipeline.told import Data
from shopkeeper.schema import NO_HISTORY
from shopkeeper.tasks.base import Truth
from shopkeeper.tasks.find import find_task
from shopkeeper.timeline import CustomerWindows, customer_windows, instant, iso

NO_CONSENT = "no consent at the instant"


def truth_of(cfg: Data) -> Truth:
    """What the config's task holds to be true of customers."""
    truth = task_of(cfg).truth
    assert truth is not None, "a task about customers says what is true of them"
    return truth


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
    spec, truth = context.customer_spec(cfg), truth_of(cfg)
    declared = declared_of(cfg, windows, known[-1].fingerprint)
    told: dict[str, Any] = {"truth": truth.label, "of": truth.of}
    subjects = asked_about(cfg, known[-1], windows)

    def build(prepared: Prepared, at: Sequence[int]) -> Cohort:
        if truth.by == SESSION:
            told_of = {**sessions_of(cfg), "declared": declared}
            rows = build_sessions(prepared, at, spec.horizon_days, observed_until=windows.observed_until, **told_of)
            audit_sessions(prepared, rows, told_of["gap_minutes"])
            return rows
        about = {"observed_until": windows.observed_until, "answers": truth.answers, "declared": declared, **told}
        cohort = build_cohort(prepared, at, spec.horizon_days, spec.active_days, **about)
        audit_cohort(prepared, cohort, spec.active_days, **told)
        if subjects is None:
            return replace(cohort, further=further_of(cfg, prepared, cohort, spec.active_days))
        pairs = paired(prepared, cohort, subjects, truth.label)
        audit_pairs(prepared, pairs, subjects, truth.label)
        return pairs

    if len({p.path for p in known}) == 1:
        return build(known[0], cutoffs)
    parts, nobody = [], []
    for prepared, cutoff in zip(known, cutoffs, strict=True):
        try:
            parts.append((prepared, build(prepared, [cutoff])))
        except NobodyAskedError as e:
            nobody.append(e)
    if not parts:
        raise nobody[-1]
    joined = join_cohorts(parts)
    return replace(joined, left_out=dict(sum((Counter(e.left_out) for e in nobody), Counter(joined.left_out))))


def further_of(cfg: Data, prepared: Prepared, cohort: Cohort, active_days: float | None) -> dict[str, Further]:
    """The labels of the tasks that the config has learned together with its own; audited as those of its own."""
    found = {}
    for name in cfg.task.together:
        truth = find_task({"name": name}, context.named_targets()).truth
        if name == cfg.task.name or truth is None or truth.by or truth.answers == DAYS:
            raise UserError(
                f"task.together: '{name}' cannot be learned together with task={cfg.task.name}; name other tasks about "
                f"customers that ask for a probability, a count or an amount, such as orders"
            )
        label = window_labels(prepared, cohort, truth.label, truth.of)
        if np.isnan(label).any():
            raise UserError(
                f"task.together: '{name}' does not say something of every customer, and what is learned together is "
                f"asked of the same; leave it out"
            )
        audit_cohort(prepared, replace(cohort, label=label), active_days, truth=truth.label, of=truth.of)
        found[name] = Further(label, truth.answers)
    return found


def asked_about(cfg: Data, prepared: Prepared, windows: CustomerWindows) -> Subjects | None:
    """Categories or items that the config's task asks about, chosen from what is known before anything is judged."""
    by = truth_of(cfg).by
    task = cfg.task
    if by in ("", SESSION):
        return None
    return subjects_of(prepared, by, task.subjects, task.most_subjects, windows.calibration)


def sessions_of(cfg: Data) -> dict[str, Any]:
    """Which sessions the config's task asks about, and when."""
    return {"after": cfg.task.after_events, "gap_minutes": cfg.task.gap_minutes}


def asked_as_of(told: Data, prepared: Prepared, at: int | None) -> tuple[Prepared, Cohort]:
    """Who is asked about at an instant (µs; None: where the log ends) whose future nobody knows, and the data of then.

    Raises:
        UserError: the log does not reach to the instant.
    """
    spec, truth, windows = context.customer_spec(told), truth_of(told), windows_of(told, prepared)
    at = windows.observed_until if at is None else at
    if at > windows.observed_until:
        raise UserError(
            f"at={iso(at)} lies after the end of the log ({iso(windows.observed_until)}): what happened until then is "
            f"not known; choose an earlier instant, or prepare the newer log and train again"
        )
    known = known_at(told, at) if context.known_per_cutoff(told) else prepared
    declared = declared_of(told, windows, prepared.fingerprint)
    if truth.by == SESSION:
        about = {**sessions_of(told), "declared": declared}
        return known, open_sessions(known, at, observed_until=windows.observed_until, **about)
    about = {"truth": truth.label, "of": truth.of, "answers": truth.answers, "declared": declared}
    cohort = build_cohort(known, at, spec.horizon_days, spec.active_days, labels=False, **about)
    subjects = asked_about(told, known, windows)
    return known, cohort if subjects is None else paired(known, cohort, subjects, truth.label)


def why_not_asked(prepared: Prepared, at: int, types: tuple[str, ...], active_days: float | None) -> np.ndarray:
    """Why each customer of a dataset would not be asked about at an instant: str (n_users,)."""
    span = "time" if active_days is None else f"{active_days:g} days"
    return why_nothing(prepared, at, f"no {' / '.join(types)} in the {span} before the cutoff")


def why_nothing(prepared: Prepared, at: int, of_known: str) -> np.ndarray:
    """The same where those who have a history, and did not object, are not asked for one reason: str (n_users,)."""
    time, offsets = prepared.events.timestamp, prepared.offsets
    assert time is not None
    first = np.where(np.diff(offsets) > 0, time[np.minimum(offsets[:-1], max(len(time) - 1, 0))], at)
    reason = np.where(first < at, of_known, NO_HISTORY).astype(object)
    if prepared.consent is not None:
        user = np.arange(1, prepared.n_users + 1)
        reason[~prepared.consent.holds(user, at)] = NO_CONSENT
    return reason
