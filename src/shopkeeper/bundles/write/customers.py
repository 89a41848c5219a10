"""Trained churn or propensity model -> a folder that answers from raw events with NumPy.

Which files there are and what each holds is declared in `bundles/layout.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.answer.customers import VOCABULARY, Score
from shopkeeper.bundles.answer.events import write_instant
from shopkeeper.bundles.answer.verify import same_score, verify
from shopkeeper.bundles.write import golden_customers as cases_of
from shopkeeper.bundles.write.seal import another, seal
from shopkeeper.bundles.write.trees import tree_arrays
from shopkeeper.customers.base import Cohort
from shopkeeper.customers.build_cohort import channel_names, item_categories
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.files import atomic_folder, write_json, write_text

REAL_CUSTOMERS = 1000


@dataclass(frozen=True)
class _Parts:
    scorer: str  # name in bundles.answer.scorers.SCORERS
    arrays: dict[str, np.ndarray]
    calibrator: dict[str, Any] | None


def _parts(model: Any) -> _Parts:
    family = type(model).__name__
    if reason := model.about.not_exported:
        raise UserError(f"{family} models are not exported: {reason}; export another model")
    if model.untrainable:
        raise UserError(f"this {family} has no scores to export: {model.untrainable}; train it on more customers")
    if family == "BaseRate":
        return _Parts("constant", {"probability": np.array([model.probability])}, None)
    if family == "Logistic":
        return _Parts("logistic", dict(model.arrays), model.calibrator.as_json())
    if family == "LightGBM":
        return _Parts("trees", tree_arrays(model.booster.dump_model()), model.calibrator.as_json())
    raise UserError(f"{family} models cannot be exported yet; take BaseRate, LightGBM or Logistic")


def export_customer_bundle(
    model: Any,
    cohort: Cohort,
    prepared: Prepared,
    run_manifest: Mapping[str, Any],
    out: Path,
    *,
    golden: int = 100,
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Write the bundle of a trained customer model to `out`, whole or not at all, and prove that it scores alike.

    Args:
        model: BaseRate, Logistic or LightGBM, trained.
        cohort: customers to check on, usually the test cohort; up to REAL_CUSTOMERS of them are compared.
        prepared: the dataset.
        run_manifest: of the run: `model`, `task`, `seed`, `metrics`, `commit`, `split`, `target_hash`.
        out: the folder; a bundle of the same dataset and model that is there is replaced.
        golden: number of invented customers whose events and probabilities travel with the bundle.
        seed: invents them.
        overwrite: replace a bundle of another dataset or model, too.

    Raises:
        UserError: the model cannot be exported, or the bundle does not score as the trained model does.
    """
    parts = _parts(model)
    item_ids, channels = prepared.items["item_id"].to_pylist(), prepared.manifest.get("channels") or ()
    invented = cases_of.invented_people(prepared, cohort, golden, seed)
    expected = cases_of.trained_scores(model, prepared, cohort, invented)
    unlike = None if overwrite else another(run_manifest, prepared.name)
    with atomic_folder(Path(out), "bundle", unlike) as folder:
        with open(folder / "arrays.npz", "wb") as f:
            np.savez(f, **parts.arrays)  # type: ignore[arg-type]
        write_json(folder / VOCABULARY, _vocabulary(prepared, cohort))
        lines = [
            json.dumps({"events": cases_of.external(person, item_ids, channels),
                        "as_of": write_instant(person.instant), "expected": score._asdict()})
            for person, score in zip(invented, expected, strict=True)
        ]  # fmt: skip
        write_text(folder / "golden.json", '{"requests": [\n' + ",\n".join(lines) + "\n]}\n")
        seal(folder, _manifest(cohort, prepared, run_manifest, parts))
        wrong = verify(folder, repeat=0).wrong
        rows = np.sort(np.random.default_rng(seed).permutation(len(cohort))[:REAL_CUSTOMERS])
        real = cases_of.real_people(cohort, rows.tolist())
        predictions = model.predict(cohort)
        got = Bundle.load(folder).score(
            [cases_of.external(person, item_ids, channels) for person in real],
            as_of=[write_instant(person.instant) for person in real],
        )
        for row, score in zip(rows.tolist(), got, strict=True):
            reason = "" if predictions.blank_reason is None else str(predictions.blank_reason[row])
            wanted = Score(None if reason else float(predictions.probability[row]), reason)
            if not same_score(score, wanted):
                wrong.append(f"a customer of the cohort: {score.probability} instead of {wanted.probability}")
        if wrong:
            raise UserError(
                f"{out} was not written: the bundle and the trained model differ in {len(wrong)} of "
                f"{len(invented) + len(real)} customers (first: {wrong[0]}); report it with what "
                f"`python -m shopkeeper doctor` prints"
            )
    return Path(out)


def _vocabulary(prepared: Prepared, cohort: Cohort) -> dict[str, Any]:
    """What turns a client's events into the arrays that features are made of."""
    events = prepared.events
    columns = [name for name in ("price", "quantity", "order", "channel") if getattr(events, name) is not None]
    category, since = item_categories(prepared), prepared.known_since("items", "category")
    item_ids = None if category is None else prepared.items["item_id"].to_pylist()
    n = 0 if item_ids is None else len(item_ids) + 1
    return {
        "columns": columns,  # of the training log; what it lacked is not read
        "channels": list(prepared.manifest.get("channels") or ()),
        "channel_features": len(channel_names(prepared.manifest)),
        "time_zone": prepared.zone,
        "usual_type": cases_of.usual_type(cohort),
        "item_ids": item_ids,  # null where categories are not known: then any id is as good as another
        "category": None if category is None else category[:n].tolist(),  # by place in item_ids from 1; 0: unknown
        "category_since": None if category is None or since is None else since[:n].tolist(),
    }


def _manifest(cohort: Cohort, prepared: Prepared, run: Mapping[str, Any], parts: _Parts) -> dict[str, Any]:
    return {
        "kind": "customer",
        "scorer": parts.scorer,
        "calibrator": parts.calibrator,
        "feature_names": list(cohort.feature_names),
        "horizon_days": cohort.horizon_days,
        "active_events": list(cohort.active_events),  # who was asked about: others are blank
        "active_days": cohort.active_days,
        "model": run.get("model"),
        "task": run.get("task"),
        "seed": run.get("seed"),
        "metrics": run.get("metrics"),
        "git_commit": run.get("commit"),
        "data": {
            "dataset": prepared.name,
            "fingerprint": prepared.fingerprint,
            "erasure_list": prepared.erasure_list,
            "split": run.get("split"),
            "target_hash": run.get("target_hash"),
        },
    }
