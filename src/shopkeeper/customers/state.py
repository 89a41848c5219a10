"""What the customer models share: when a score stays blank and why, and what they save beside trees and networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.correction.calibration import Calibrator
from shopkeeper.errors import UserError
from shopkeeper.files import atomic_file, read_json, write_json
from shopkeeper.models.about import PROBABILITIES
from shopkeeper.schema import NO_HISTORY

STATE_FILE, WEIGHTS_FILE = "model.json", "weights.npz"


def why_untrainable(label: np.ndarray, min_positives: int, answers: str = PROBABILITIES) -> str:
    """Why a model cannot be learnt from these labels, "" when it can.

    Both classes need at least `min_positives` rows: with fewer, scores would look like knowledge. Of counts and
    amounts, so many rows must be above 0.
    """
    n_positive = int((label > 0).sum())
    if answers != PROBABILITIES:
        few = n_positive < max(min_positives, 1)
        return f"too few {answers} above 0 in training ({n_positive} of at least {min_positives})" if few else ""
    n_negative = len(label) - n_positive
    if n_positive == 0 or n_negative == 0:
        return f"only one class in training ({n_positive} positives, {n_negative} negatives)"
    if min(n_positive, n_negative) < min_positives:
        kind = "positives" if n_positive < n_negative else "negatives"
        return f"too few {kind} in training ({min(n_positive, n_negative)} of at least {min_positives})"
    return ""


def labels_of(cohort: Cohort) -> np.ndarray:
    """The cohort's labels; models are only ever fitted on labelled cohorts."""
    assert cohort.label is not None, "a cohort without labels cannot be learnt from"
    return cohort.label


def with_blanks(cohort: Cohort, value: np.ndarray, untrainable: str = "") -> Predictions:
    """Predictions with NaN and a reason for customers without any history, or for everybody if `untrainable`."""
    reason = np.where(cohort.end > cohort.start, untrainable, untrainable or NO_HISTORY)
    return Predictions(np.where(reason == "", value, np.nan), reason.astype(str))


def too_thin(train: Cohort, days: float, min_customers: int | None, min_days: float | None) -> str:
    """Why nothing is said after so few customers, or so short a log (days); "" where there are enough."""
    n = len(np.unique(train.customer))
    if min_customers is not None and n < min_customers:
        return f"too few customers to learn from ({n:,} of at least {min_customers:,})"
    if min_days is not None and days < min_days:
        return f"too short a log to learn from ({days:.4g} of at least {min_days:g} days before the test cutoff)"
    return ""


def all_blank(found: Predictions, reason: str) -> Predictions:
    """The same without a score, for a reason; unchanged where it is ""."""
    if not reason:
        return found
    own = np.full(len(found.value), "") if found.blank_reason is None else found.blank_reason
    blank = replace(found, value=np.full(len(found.value), np.nan), blank_reason=np.where(own == "", reason, own))
    blank = replace(blank, further={name: np.full_like(values, np.nan) for name, values in found.further.items()})
    return blank if found.quantile is None else replace(blank, quantile=np.full_like(found.quantile, np.nan))


def same_features(cohort: Cohort, names: tuple[str, ...]) -> None:
    """A `UserError` when the cohort's features are not those that the model was fitted on."""
    if cohort.feature_names != names:
        differing = sorted(set(cohort.feature_names) ^ set(names)) or ["their order"]
        raise UserError(
            f"this model was fitted on other features (differing: {', '.join(differing[:5])}); "
            f"train it again on this dataset"
        )


def write_state(folder: Path, model: str, state: dict[str, Any]) -> None:
    """Write `model.json`: which model this is, and its small state."""
    write_json(folder / STATE_FILE, {"model": model, **state})


def read_state(folder: Path, model: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """Read `model.json`; a `UserError` when it is missing, damaged, or another model's."""
    path = folder / STATE_FILE
    state = read_json(path)
    found = state.get("model") if isinstance(state, dict) else None
    if found != model:
        raise UserError(
            f"{path} holds a model of kind '{found}', not '{model}'; choose the run folder of a {model} model"
        )
    missing = [k for k in keys if k not in state]
    if missing:
        raise UserError(f"{path} is damaged ('{missing[0]}' is missing); train the model again")
    return dict(state)


def read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Arrays of an `.npz` file, nothing pickled; a `UserError` when it is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except FileNotFoundError:
        raise UserError(f"{path} is missing: the run folder is incomplete; train the model again") from None
    except Exception as e:  # zipfile, zlib, numpy and KeyError all have their own for a damaged file
        raise UserError(f"{path} is damaged ({e}); train the model again") from None


def save_linear(
    folder: Path,
    model: str,
    arrays: dict[str, np.ndarray],
    feature_names: tuple[str, ...],
    calibrator: Calibrator,
    untrainable: str,
) -> None:
    """Write `weights.npz` and `model.json` of a model that is arrays, features, a calibration, and why it is blank."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / WEIGHTS_FILE) as tmp, open(tmp, "wb") as f:
        np.savez(f, **arrays)  # type: ignore[arg-type]
    state = {"feature_names": list(feature_names), "calibrator": calibrator.as_json(), "untrainable": untrainable}
    write_state(folder, model, state)


def read_linear(
    folder: Path, model: str, names: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], tuple[str, ...], Calibrator, str]:
    """What `save_linear` was given; without arrays where the model is blank. Errors as of `read_state`."""
    state = read_state(folder, model, ("feature_names", "calibrator", "untrainable"))
    untrainable = str(state["untrainable"])
    arrays = {} if untrainable else read_arrays(folder / WEIGHTS_FILE, names)
    return arrays, tuple(state["feature_names"]), Calibrator(**state["calibrator"]), untrainable
