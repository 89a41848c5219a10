"""Learners of uplift held against each other on customers whom they have not seen, with intervals over customers.

Shapes: n customers, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from shopkeeper.campaigns.uplift.learners import Trial
from shopkeeper.evaluation.resampling import drawn_rows
from shopkeeper.metrics.uplift import uplift_curves

SHOWN = 20  # points of a curve that is kept


def judged(
    trial: Trial, scores: Mapping[str, np.ndarray], *, resamples: int = 500, confidence: float = 0.95, seed: int = 0
) -> dict[str, dict[str, dict[str, float]]]:
    """Figure -> value, low, high of each score, float64 (n,) by name: see `metrics.uplift.Curves.areas`.

    Percentile intervals; customers are drawn with replacement, the same for all scores. The models are not fitted anew:
    an interval is about the ranking that is there. A resample without one of the arms says nothing and is left out.
    """
    tail = (1 - confidence) / 2
    told = trial.outcome, trial.treated
    found = {}
    for name, score in scores.items():
        value = uplift_curves(*told, score, trial.probability).areas()
        again: dict[str, list[np.ndarray]] = {figure: [] for figure in value}
        for weight in drawn_rows(np.arange(len(score)), resamples, seed):
            for figure, values in uplift_curves(*told, score, trial.probability, weight).areas().items():
                again[figure].append(values)
        limits = {figure: np.nanquantile(np.concatenate(rows), [tail, 1 - tail]) for figure, rows in again.items()}
        found[name] = {
            figure: {"value": float(v[0]), "low": float(limits[figure][0]), "high": float(limits[figure][1])}
            for figure, v in value.items()
        }
    return found


def curve_of(trial: Trial, score: np.ndarray) -> list[dict[str, Any]]:
    """The uplift curve at even shares of the customers."""
    curve = uplift_curves(trial.outcome, trial.treated, score, trial.probability)
    at = np.linspace(0, 1, SHOWN + 1)
    gain, qini = (np.interp(at, curve.share[0], values[0]) for values in (curve.uplift, curve.qini))
    return [{"share": float(s), "gain": float(g), "qini": float(q)} for s, g, q in zip(at, gain, qini, strict=True)]
