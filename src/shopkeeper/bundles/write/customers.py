"""Trained churn or propensity model -> a folder of plain arrays that NumPy scores (`bundles.answer.customers`).

exports/<name>/
    arrays.npz             the fitted numbers
    golden.json            invented customers' features with the trained model's probabilities
    manifest.json          what it is: scorer, feature names, calibration, SHA-256 of every file
    manifest.json.sha256   SHA-256 of the manifest
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.customers import SAME_PROBABILITY, CustomerBundle
from shopkeeper.bundles.answer.verify import verify
from shopkeeper.bundles.write.seal import another, seal
from shopkeeper.bundles.write.trees import tree_arrays
from shopkeeper.customers.base import Cohort
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Events
from shopkeeper.errors import UserError
from shopkeeper.files import atomic_folder, write_text


@dataclass(frozen=True)
class _Parts:
    scorer: str  # name in bundles.answer.scorers.SCORERS
    arrays: dict[str, np.ndarray]
    calibrator: dict[str, Any] | None


def _parts(model: Any) -> _Parts:
    family = type(model).__name__
    if getattr(model, "untrainable", ""):
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
        cohort: customers to check on, usually the test cohort; all of them are compared.
        prepared: the dataset.
        run_manifest: of the run: `model`, `task`, `seed`, `metrics`, `commit`, `split`, `target_hash`.
        out: the folder; a bundle of the same dataset and model that is there is replaced.
        golden: number of invented customers whose features and probabilities travel with the bundle.
        seed: invents them.
        overwrite: replace a bundle of another dataset or model, too.

    Raises:
        UserError: the model cannot be exported, or the arrays do not score as the trained model does.
    """
    parts = _parts(model)
    asked = replace(cohort, end=np.maximum(cohort.end, cohort.start + 1))  # features alone decide: no blanks here
    probability = model.predict(asked).probability
    invented = _invented(cohort, golden, seed)
    expected = model.predict(invented).probability
    unlike = None if overwrite else another(run_manifest, prepared.name)
    with atomic_folder(Path(out), "bundle", unlike) as folder:
        with open(folder / "arrays.npz", "wb") as f:
            np.savez(f, **parts.arrays)  # type: ignore[arg-type]
        lines = [json.dumps(_golden(invented, row, float(expected[row]))) for row in range(len(invented))]
        write_text(folder / "golden.json", '{"requests": [\n' + ",\n".join(lines) + "\n]}\n")
        seal(folder, _manifest(cohort, prepared, run_manifest, parts))
        wrong = verify(folder, repeat=0).wrong
        difference = np.abs(CustomerBundle.load(folder).predict(cohort.features) - probability)
        if wrong or not (difference <= SAME_PROBABILITY).all():
            raise UserError(
                f"{out} was not written: the exported arrays and the trained model differ by up to "
                f"{np.nanmax(difference):.2g} in probability; report it with what `python -m shopkeeper doctor` prints"
            )
    return Path(out)


def _invented(cohort: Cohort, count: int, seed: int) -> Cohort:
    """Customers who do not exist: one of whom nothing is known, one of zeros, then mixtures.

    Each feature of a mixture lies somewhere between those of two customers, other two for each feature, and is unknown
    as often as there. A row that is some customer's all the same is left out.
    """
    rng = np.random.default_rng(seed)
    n, width = cohort.features.shape
    odd_nF = np.array([[np.nan] * width, [0.0] * width])
    if n:
        pair = rng.integers(0, n, (2, max(count, 2), width))
        one_nF, other_nF = (np.take_along_axis(cohort.features, rows, axis=0) for rows in pair)
        rows_nF = one_nF + (other_nF - one_nF) * rng.uniform(0.2, 0.8, one_nF.shape)
        real = {row.tobytes() for row in np.asarray(cohort.features, np.float64)}
        nobody = [row.tobytes() not in real for row in rows_nF]
        odd_nF = np.concatenate([odd_nF, rows_nF[nobody]])
    features = odd_nF[:count]
    one = np.zeros(len(features), np.int64)
    events = Events(np.ones(1, np.int32), np.ones(1, np.int8), np.zeros(1, np.int64))
    return Cohort(one.astype(np.int32), one, features, cohort.feature_names, events, one, one + 1, one,
                  horizon_days=cohort.horizon_days)  # fmt: skip


def _golden(cohort: Cohort, row: int, probability: float) -> dict[str, Any]:
    values = (None if np.isnan(x) else float(x) for x in cohort.features[row])
    return {"features": dict(zip(cohort.feature_names, values, strict=True)), "expected": probability}


def _manifest(cohort: Cohort, prepared: Prepared, run: Mapping[str, Any], parts: _Parts) -> dict[str, Any]:
    return {
        "kind": "customer",
        "scorer": parts.scorer,
        "calibrator": parts.calibrator,
        "feature_names": list(cohort.feature_names),
        "horizon_days": cohort.horizon_days,
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
