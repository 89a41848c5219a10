"""Calibration: mends distorted scores, leaves good ones alone, and never says 0 or 1."""

from __future__ import annotations

import numpy as np
import pytest

from shopkeeper.customers.correction.calibration import (
    METHODS,
    Calibrator,
    choose_calibrator,
    fit_calibrator,
    fit_scale,
)
from shopkeeper.metrics.classification import auroc, log_loss
from shopkeeper.metrics.classification_reliability import ece


def sample(seed: int, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = 1 / (1 + np.exp(-rng.normal(-0.5, 1.2, n)))
    return p, (rng.random(n) < p).astype(float)


def logit_shift(p: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    return 1 / (1 + np.exp(-(slope * np.log(p / (1 - p)) + intercept)))


GRID = np.linspace(1e-6, 1 - 1e-6, 200_001)
BETA = 1 / (1 + np.exp(-(0.3 * np.log(GRID) - 3 * np.log1p(-GRID) - 2.6)))  # what mends it is a beta map


DISTORTIONS = {
    "identity": lambda p: p,
    "temperature": lambda p: logit_shift(p, 3, 0),
    "platt": lambda p: logit_shift(p, 2, 1.5),
    "beta": lambda p: np.interp(p, BETA, GRID),
    "isotonic": lambda p: np.where(p < 0.4, p * 0.1 + 0.3, np.minimum(p * 0.2 + 0.75, 0.99)),
}


@pytest.mark.parametrize("method", METHODS)
def test_the_method_that_undoes_the_distortion_is_chosen_and_helps_on_new_customers(method: str):
    p, y = sample(1)
    chosen = choose_calibrator(DISTORTIONS[method](p), y, np.arange(len(p)), seed=0)
    assert chosen.method == method
    p_new, y_new = sample(2)
    mended = chosen(DISTORTIONS[method](p_new))
    assert log_loss(y_new, mended) < log_loss(y_new, p_new) + 0.01
    assert ece(y_new, mended) < 0.045
    assert method == "identity" or ece(y_new, DISTORTIONS[method](p_new)) > 0.07


def test_platt_is_a_logistic_regression_on_the_logit():
    from sklearn.linear_model import LogisticRegression

    p, y = sample(3)
    reference = LogisticRegression(C=1e6, tol=1e-10).fit(np.log(p / (1 - p))[:, None], y)
    fitted = fit_calibrator("platt", p, y)
    assert fitted.parameters["slope"][0] == pytest.approx(reference.coef_[0, 0], abs=2e-3)
    assert fitted.parameters["intercept"][0] == pytest.approx(reference.intercept_[0], abs=2e-3)


def test_a_bundle_calibrates_as_training_does():
    from shopkeeper.programs.scoring import calibrated

    p, y = sample(7)
    for method in METHODS:
        fitted = fit_calibrator(method, p**2, y)
        np.testing.assert_array_equal(calibrated(p**2, fitted.as_json()), fitted(p**2), err_msg=method)


@pytest.mark.parametrize("method", METHODS)
def test_no_method_turns_the_ranking_round_or_becomes_certain(method: str):
    p, y = sample(4)
    fitted = fit_calibrator(method, 1 - p, y)  # scores that are wrong way round
    x = np.linspace(0, 1, 101)
    assert (np.diff(fitted(x)) >= -1e-12).all()
    sure = fit_calibrator(method, p, (p > 0.5).astype(float))(x)  # scores that are always right
    assert ((sure > 0) & (sure < 1)).all()
    assert auroc(y, fit_calibrator(method, p, y)(p)) >= auroc(y, p) - 0.01


@pytest.mark.parametrize("method", METHODS)
def test_a_calibrator_survives_json(method: str):
    import json

    p, y = sample(5)
    fitted = fit_calibrator(method, p, y)
    again = Calibrator(**json.loads(json.dumps(fitted.as_json())))
    assert again(p).tobytes() == fitted(p).tobytes()


def test_few_rows_never_get_an_isotonic_fit_and_one_class_is_left_alone():
    p, y = sample(6, 300)
    assert choose_calibrator(DISTORTIONS["isotonic"](p), y, np.arange(300), seed=0).method != "isotonic"
    assert choose_calibrator(p, np.zeros(300), np.arange(300), seed=0).method == "identity"


def test_an_isotonic_fit_needs_a_thousand_customers_however_many_rows_they_have():
    p, y = sample(6, 8000)
    stepped = DISTORTIONS["isotonic"](p)
    for people, method in ((1000, True), (999, False)):
        chosen = choose_calibrator(stepped, y, np.arange(8000) % people, seed=0)
        assert (chosen.method == "isotonic") == method


def test_a_step_is_shrunk_by_one_row_of_the_base_rate():
    fitted = fit_calibrator("isotonic", np.array([0.2, 0.2, 0.4, 0.6, 0.6]), np.array([0.0, 0.0, 1.0, 1.0, 0.0]))
    assert fitted.parameters["x"] == [0.2, 0.4, 0.6]
    assert fitted.parameters["y"] == pytest.approx([0.4 / 3, 2.4 / 4, 2.4 / 4])


def test_where_a_fold_s_other_customers_are_of_one_class_nothing_is_mended():
    once = (np.arange(300) == 7).astype(float)
    assert choose_calibrator(np.full(300, 0.5), once, np.arange(300), seed=0).method == "identity"
    twice = (np.arange(300) % 2 == 0).astype(float)
    assert choose_calibrator(np.full(300, 0.9), twice, np.arange(300), seed=0).method != "identity"


def test_means_of_nothing_keep_their_factor():
    assert fit_scale(np.zeros(3), np.ones(3)).parameters == {"factor": [1.0]}
    assert fit_scale(np.full(4, 2.0), np.array([0.0, 1.0, 0.0, 1.0])).parameters == {"factor": [0.25]}


def test_customers_at_many_cutoffs_do_not_make_a_correction_surer():
    p, y = sample(8, 1500)
    off = logit_shift(p, 1.15, 0.0)  # too sure by so little that 1,500 customers hardly show it
    alone = choose_calibrator(off, y, np.arange(1500), seed=0)
    again = [np.tile(values, 12) for values in (off, y, np.arange(1500))]
    assert alone.method == "identity"
    assert choose_calibrator(*again, seed=0).method == "identity"
    independent = choose_calibrator(*again[:2], np.arange(12 * 1500), seed=0)
    assert independent.method != "identity"  # as so many customers, the same rows would show it


@pytest.mark.parametrize("slope", [8.0, 0.05])
def test_scores_far_too_sure_or_far_too_timid_are_brought_back(slope: float):
    p, y = sample(7)
    for method in ("temperature", "platt"):
        fitted = fit_calibrator(method, logit_shift(p, slope, 0), y)
        near = np.abs(np.log(p / (1 - p)) * slope) < 10  # beyond, scores are clipped
        assert fitted(logit_shift(p, slope, 0))[near] == pytest.approx(p[near], abs=0.05), method


def test_scores_that_are_nearly_certain_of_everybody_are_brought_back_too():
    rng = np.random.default_rng(8)
    p = 1 / (1 + np.exp(-rng.normal(12, 1, 2000)))
    y = (rng.random(2000) < 0.4).astype(float)
    assert fit_calibrator("platt", p, y)(p) == pytest.approx(np.full(2000, 0.4), abs=0.1)
