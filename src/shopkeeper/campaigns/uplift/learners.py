r"""Learners of uplift on LightGBM: what treating a customer changes in the outcome.

With outcome :math:`Y`, treatment :math:`W`, features :math:`x` and known probability of treatment :math:`e`,

* t: two models, :math:`\mu_1(x) - \mu_0(x)`, one per arm;
* s: one model that has the treatment among its features, asked both ways;
* x: models of :math:`Y - \mu_0(x)` among the treated and :math:`\mu_1(x) - Y` in control, mixed by the mean of
  :math:`e` (S. Künzel, J. Sekhon, P. Bickel and B. Yu, PNAS 116(10), 2019);
* r: :math:`\tau` that minimises :math:`\sum (Y - m(x) - \tau(x) (W - e))^2`, with :math:`m` of other customers
  (X. Nie and S. Wager, Biometrika 108(2), 2021);
* class: one model of the class transformation (M. Jaskowski and S. Jaroszewicz, ICML workshop on clinical data
  analysis, 2012): :math:`Z = 1` for a treated success or an untreated failure, rows weighted by :math:`1 / P(W)`, and
  :math:`\tau = 2 P(Z = 1) - 1`; of amounts, of the transformed outcome :math:`Y (W - e) / (e (1 - e))`, whose mean is
  :math:`\tau` as well (S. Athey and G. Imbens, PNAS 113(27), 2016).

Each customer's uplift is said by models that have seen neither the customer nor whoever shares the fold.

Shapes: n customers, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from shopkeeper.campaigns.uplift.settings import Trees
from shopkeeper.customers.folds import folds_by_customer
from shopkeeper.models.trees import grown

Model = Callable[[np.ndarray], np.ndarray]  # features (n, F) -> what is expected, float64 (n,)


@dataclass(frozen=True)
class Trial:
    """What a randomised campaign says of each customer."""

    features: np.ndarray  # float64 (n, F); NaN is unknown
    treated: np.ndarray  # bool (n,)
    probability: np.ndarray  # float64 (n,) of being treated
    outcome: np.ndarray  # float64 (n,)

    def rows(self, chosen: np.ndarray) -> Trial:
        """Some of the customers."""
        return Trial(*(values[chosen] for values in vars(self).values()))

    @property
    def yes_or_no(self) -> bool:
        """Whether the outcome is 0 or 1."""
        return bool(np.isin(self.outcome, (0, 1)).all())


class Learner:
    """Fits the models that the functions below put together."""

    def __init__(self, trees: Trees, seed: int):
        self.trees, self.seed = trees, seed

    def fit(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None, binary: bool = False) -> Model:
        """A model of the mean of y."""
        import lightgbm as lgb

        if len(y) == 0 or y.min() == y.max():
            constant = float(y[0]) if len(y) else 0.0
            return lambda asked: np.full(len(asked), constant)
        t = self.trees
        parameters = grown(
            learning_rate=t.learning_rate, num_leaves=t.leaves, min_data_in_leaf=t.least_in_leaf, feature_fraction=1.0,
            lambda_l2=t.lambda_l2, num_threads=1, objective="binary" if binary else "regression", seed=self.seed,
        )  # fmt: skip
        booster = lgb.train(parameters, lgb.Dataset(x, y, weight=weight, params=parameters), num_boost_round=t.trees)
        return lambda asked: np.asarray(booster.predict(asked, num_threads=1), np.float64)

    def per_arm(self, trial: Trial) -> tuple[Model, Model]:
        """Models of the outcome in control and among the treated."""
        arms = (trial.rows(~trial.treated), trial.rows(trial.treated))
        control, mailed = (self.fit(a.features, a.outcome, binary=trial.yes_or_no) for a in arms)
        return control, mailed


def t_learner(fitted: Learner, trial: Trial) -> Model:
    """Two models."""
    control, mailed = fitted.per_arm(trial)
    return lambda x: mailed(x) - control(x)


def s_learner(fitted: Learner, trial: Trial) -> Model:
    """One model with the treatment as a feature."""
    both = fitted.fit(np.column_stack([trial.features, trial.treated]), trial.outcome, binary=trial.yes_or_no)

    def uplift(x: np.ndarray) -> np.ndarray:
        with_mail, without = (both(np.column_stack([x, np.full(len(x), w)])) for w in (1.0, 0.0))
        return with_mail - without

    return uplift


def x_learner(fitted: Learner, trial: Trial) -> Model:
    """Effects imputed from the other arm."""
    control, mailed = fitted.per_arm(trial)
    own, other = trial.rows(trial.treated), trial.rows(~trial.treated)
    of_treated = fitted.fit(own.features, own.outcome - control(own.features))
    of_control = fitted.fit(other.features, mailed(other.features) - other.outcome)
    e = float(trial.probability.mean())
    return lambda x: e * of_control(x) + (1 - e) * of_treated(x)


def r_learner(fitted: Learner, trial: Trial) -> Model:
    """Residuals on residuals."""
    expected = np.empty(len(trial.outcome))
    for seen, held_out in folds_by_customer(np.arange(len(expected)), fitted.seed, 2):
        part = trial.rows(seen)
        expected[held_out] = fitted.fit(part.features, part.outcome, binary=trial.yes_or_no)(trial.features[held_out])
    surprise = trial.treated - trial.probability
    return fitted.fit(trial.features, (trial.outcome - expected) / surprise, surprise**2)


def class_transformation(fitted: Learner, trial: Trial) -> Model:
    """One model of the transformed class, or of the transformed outcome of amounts."""
    e, w = trial.probability, trial.treated
    if trial.yes_or_no:
        of_class = fitted.fit(
            trial.features, (trial.outcome == w).astype(float), 0.5 / np.where(w, e, 1 - e), binary=True
        )
        return lambda x: 2 * of_class(x) - 1
    return fitted.fit(trial.features, trial.outcome * (w - e) / (e * (1 - e)))


LEARNERS: dict[str, Callable[[Learner, Trial], Model]] = {
    "t": t_learner, "s": s_learner, "x": x_learner, "r": r_learner, "class": class_transformation,
}  # fmt: skip


def uplift_of_others(name: str, trial: Trial, trees: Trees, folds: int, seed: int) -> np.ndarray:
    """Uplift of every customer by a learner that was fitted without that customer's fold: float64 (n,)."""
    found = np.empty(len(trial.outcome))
    for seen, held_out in folds_by_customer(np.arange(len(found)), seed, folds):
        found[held_out] = LEARNERS[name](Learner(trees, seed), trial.rows(seen))(trial.features[held_out])
    return found
