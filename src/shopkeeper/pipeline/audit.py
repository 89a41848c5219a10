"""The leak audit of a trained model, as `train` runs it: on a sample always, with a second fit where `audit=full`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from shopkeeper.customers.base import Cohort
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.models.about import Learned
from shopkeeper.models.fit import Fit
from shopkeeper.models.make import make
from shopkeeper.pipeline.told import Data, Train
from shopkeeper.splits.audit_error import AuditError
from shopkeeper.timeline import CustomerWindows, iso
from shopkeeper.training.config import PlanByHand

log = logging.getLogger(__name__)
Build = Callable[[Sequence[Prepared], CustomerWindows, Sequence[int]], Cohort]  # of what was known at some cutoffs


def audit_recommender(cfg: Train, model: Any, learned: Learned, split: Split, fit: Fit, parts: Sequence[str]) -> None:
    """See that a recommender's answers, and with `audit=full` what it learned, do not move with what comes later.

    Raises:
        AuditError: naming the model.
    """
    from shopkeeper.evaluation.alarms.model_audit import audit_answers, audit_learning

    name = cfg.model.name
    audit_answers(model, name, split, tuple(parts))
    if cfg.audit != "full" or "test" not in parts:
        return

    def learn(prepared: Prepared, data: Split, short: bool) -> Any:
        # In one process, since others would read the split from disk, and with nothing to resume.
        trainer = replace(fit.trainer, devices=1, resume=False)
        if short:
            trainer = replace(trainer, max_epochs=2, plan=PlanByHand.of(learned.plan or {}))
        again = make(cfg.model.plain)
        again.fit(
            prepared,
            data,
            replace(
                fit,
                folder=None,
                steps=min(fit.steps, 2) if short and fit.steps else fit.steps,
                chosen=learned.chosen,
                trainer=trainer,
                log=lambda *_: None,
                progress=False,
            ),
        )
        return again

    log.info("audit=full: %s", audit_learning(learn, model, name, split))


def say(alarm: str | None) -> dict[str, str]:
    """Warn of a model that is better than the oracle; what the run's manifest says of it."""
    if alarm is None:
        return {}
    log.warning("alarm: %s", alarm)
    return {"alarm": alarm}


def audit_customer_model(
    cfg: Train,
    model: Any,
    part: str,
    cohort: Mapping[str, Cohort],
    known: Mapping[str, Sequence[Prepared]],
    windows: CustomerWindows,
    judged: str,
    build: Build,
    fitted: Callable[[Mapping[str, Cohort], Fit], Any],
    chosen: str = "",
) -> None:
    """The same for a customer model that was fitted for a part: it knows nothing from that part's cutoff on.

    With `audit=full` all cohorts are built (`build`) from a log with another future, and a new model is fitted for the
    part in the way in which this one was (`fitted`), with the candidate that validation chose (`chosen`); on the cohort
    that it is judged by, both must say the same.
    """
    from shopkeeper.evaluation.alarms.model_audit import audit_predictions, same_predictions

    name = cfg.model.name
    audit_predictions(model, name, cohort[judged])
    if cfg.audit != "full":
        return
    other = audit_cohorts(cfg, known, windows, cohort, judged, build)
    fit = Fit(seed=cfg.seed, chosen=chosen, trainer=replace(cfg.trainer, devices=1), progress=False)
    same_predictions(
        model, fitted(other, fit), name, cohort[judged], f"{part}, from {iso(int(cohort[judged].cutoff.min()))} on"
    )
    log.info("audit=full: %s for %s: cohorts and model do not depend on what follows", name, part)


def audit_cohorts(
    cfg: Data,
    known: Mapping[str, Sequence[Prepared]],
    windows: CustomerWindows,
    cohort: Mapping[str, Cohort],
    judged: str,
    build: Build,
) -> dict[str, Cohort]:
    """The cohorts of a log with another future from the cutoff of `judged` on; what was known must be the same.

    Raises:
        AuditError: naming the features, labels or customers that change.
    """
    from shopkeeper.customers.build_cohort import SAYS_NOTHING
    from shopkeeper.splits.perturb import perturb_after

    cutoff = int(cohort[judged].cutoff.min())
    parts = {part: t for part, t in windows.every.items() if part in cohort}
    other, found = {}, []
    for part, cutoffs in parts.items():
        if cohort[part].session is not None and max(cutoffs) + windows.horizon > cutoff:
            continue  # sessions are asked about while they go on: after the instant from which on all is changed
        # One log for all cutoffs where it is one: cohorts are joined where they come from several.
        changed = {id(p): perturb_after(p, cutoff, grow=False) for p in known[part]}
        other[part] = build([changed[id(p)] for p in known[part]], windows, cutoffs)
        if min(cutoffs) <= cutoff:
            chosen = any(p.consent is not None for p in known[part]) or any(
                SAYS_NOTHING in of.left_out for of in (cohort[part], other[part])
            )
            found += _differences(part, cohort[part], other[part], part == judged, chosen)
    if found:
        then = "Mend the cohort or the feature: only what lies strictly before the cutoff is known"
        found = [f"{violation} when events after {iso(cutoff)} change" for violation in found]
        raise AuditError(cfg.dataset.name, found, "the customers of", then)
    return other


def _differences(part: str, old: Cohort, new: Cohort, judged: bool, chosen: bool) -> list[str]:
    """What of a cohort changes: customers, features and, unless they are the future, labels.

    `chosen`: the label window says who is left out (who withdraws consent in it, or whose does not say what is asked);
    then only those in both are compared.
    """
    here = there = np.arange(len(old))
    pairs = [np.stack([c.cutoff, c.customer.astype(np.int64)], axis=1) for c in (old, new)]
    if judged and chosen:
        assert len(np.unique(old.cutoff)) == 1  # the part that is judged has one cutoff
        who, again = (c.customer.astype(np.int64) for c in (old, new))
        if old.subject is not None and new.subject is not None:
            who, again = who * len(old.subjects) + old.subject, again * len(new.subjects) + new.subject
        _, here, there = np.intersect1d(who, again, return_indices=True)
    elif not np.array_equal(pairs[0], pairs[1]):
        return [f"{part}: who is asked about changes"]
    before, after = old.features[here], new.features[there]
    same = (before == after) | (np.isnan(before) & np.isnan(after))
    names = [name for name, column in zip(old.feature_names, same.all(axis=0), strict=True) if not column]
    found = [f"{part}: {', '.join(names)} change"] if names else []
    if not judged and old.label is not None and new.label is not None and (old.label != new.label).any():
        found.append(f"{part}: labels change")
    return found
