"""All estimators on one log, with overlap, effective sample size and bootstrap intervals by customer or round.

Shapes: n rounds, A actions, C clusters, E estimators, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.errors import UserError
from shopkeeper.evaluation.counterfactual import estimators as est
from shopkeeper.evaluation.counterfactual.log import LoggedRounds
from shopkeeper.evaluation.intervals import finite, per_user, resampled_means


@dataclass(frozen=True)
class PolicyValue:
    """Estimates of a target policy's value. `resamples` holds each estimator's bootstrap values for differences."""

    estimates: dict[str, dict[str, Any]]  # name -> value, low, high, n, parameter, interval_of
    diagnostics: dict[str, float]
    warnings: list[str]
    resamples: dict[str, np.ndarray]  # name -> float64 (R,)

    def table(self) -> pa.Table:
        """One row per estimator: estimator, value, low, high, n, parameter (null where it has none), interval_of."""
        return pa.Table.from_pylist([{"estimator": name, **row} for name, row in self.estimates.items()])


def evaluate_policy(
    log: LoggedRounds,
    predicted_nA: np.ndarray | None = None,
    *,
    clip: float | None = None,
    switch: float | None = None,
    shrinkage: float | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> PolicyValue:
    """Value of the target policy by `ips`, `clipped_ips`, `snips` and, given a reward model, `dm dr switch_dr dr_os`.

    `clip` and `switch` default to the square root of n, at which truncated IPS stays consistent (Ionides
    2008), and `shrinkage` to 4 n, at which no shrunk weight exceeds that either; nothing is tuned on the log itself.
    Intervals are percentile intervals of a bootstrap over clusters (rounds where the log names none); they show the
    noise of the rounds with the reward model held fixed (for `dm` that is far too narrow, and its rows say so),
    not the bias that clipping or a wrong reward model bring.
    """
    if not 0 < level < 1 or resamples < 1:
        raise UserError(f"level is {level} and resamples {resamples}; give a level between 0 and 1, resamples above 0")
    if predicted_nA is not None and predicted_nA.shape != log.target.shape:
        raise UserError(
            f"the reward model predicts {predicted_nA.shape} values for a log of {log.target.shape}; give one per "
            f"round and action"
        )
    if predicted_nA is not None and not np.isfinite(predicted_nA).all():
        raise UserError("the reward model predicts values that are not finite; mend it or leave it out")
    weight_n = log.weight
    assert log.propensity is not None
    logged = (log.reward, log.action, log.propensity, log.target)
    root = float(np.sqrt(len(log)))
    clip, switch = root if clip is None else clip, root if switch is None else switch
    shrinkage = 4.0 * len(log) if shrinkage is None else shrinkage
    terms: dict[str, tuple[np.ndarray, float | None]] = {
        "ips": (est.clipped_ips(*logged), None),
        "clipped_ips": (est.clipped_ips(*logged, clip=clip), clip),
        "snips": (weight_n * log.reward, None),  # over the sum of weights, below
    }
    if predicted_nA is not None:
        q = predicted_nA
        terms |= {
            "dm": (est.direct_method(log.target, q), None),
            "dr": (est.doubly_robust(*logged, q), None),
            "switch_dr": (est.switch_dr(*logged, q, threshold=switch), switch),
            "dr_os": (est.dr_optimistic_shrinkage(*logged, q, shrinkage=shrinkage), shrinkage),
        }
    names = [*terms, "mean_weight"]
    numerator_nE = np.stack([*(t for t, _ in terms.values()), weight_n], axis=1)
    denominator_nE = np.ones_like(numerator_nE)
    denominator_nE[:, names.index("snips")] = weight_n
    cluster_n = np.arange(len(log)) if log.cluster is None else log.cluster
    top_CE, bottom_CE = per_user(numerator_nE, cluster_n)[0], per_user(denominator_nE, cluster_n)[0]
    value_E = top_CE.sum(axis=0) / bottom_CE.sum(axis=0)
    draws_RE = resampled_means(top_CE, bottom_CE, resamples, seed)
    tail = (1 - level) / 2
    low_E, high_E = np.nanquantile(draws_RE, [tail, 1 - tail], axis=0)
    if len(top_CE) < 2:  # of one customer nothing can be said about others
        low_E, high_E = np.full((2, len(names)), np.nan)
    rows: dict[str, dict[str, Any]] = {
        name: {"value": float(value_E[e]), "low": finite(low_E[e]), "high": finite(high_E[e]), "n": len(log)}
        for e, name in enumerate(names)
    }
    mean_weight = rows.pop("mean_weight")
    for name, (_, parameter) in terms.items():
        rows[name]["parameter"] = parameter
        rows[name]["interval_of"] = "rounds, reward model held fixed" if name == "dm" else "rounds"
    ess = float(weight_n.sum() ** 2 / (weight_n**2).sum())
    diagnostics = {
        "effective_sample_size": ess,
        "overlap": float(np.minimum(weight_n, 1).mean()),  # estimates 1 - total variation distance of the policies
        "mean_weight": mean_weight["value"],  # expected to be 1 when the propensities are right
        **{f"mean_weight_{k}": mean_weight[k] for k in ("low", "high") if mean_weight[k] is not None},
        "max_weight": float(weight_n.max()),
        "largest_weight_share": float(weight_n.max() / weight_n.sum()),
    }
    draws = {name: draws_RE[:, e] for e, name in enumerate(names) if name in rows}
    return PolicyValue(rows, diagnostics, _warnings(diagnostics, len(log)), draws)


def _warnings(d: dict[str, float], n: int) -> list[str]:
    found = []
    if d["largest_weight_share"] > 0.05:
        found.append(f"one round carries {d['largest_weight_share']:.0%} of all weight: IPS, SNIPS and DR hang on it")
    if d["effective_sample_size"] < max(100, 0.01 * n):
        found.append(f"{n} rounds are worth {d['effective_sample_size']:.0f} of the target policy's own")
    if "mean_weight_low" not in d:
        found.append("all rounds belong to one customer: nothing can be said of others, and there are no intervals")
    elif not d["mean_weight_low"] <= 1 <= d["mean_weight_high"]:
        found.append(
            f"mean weight {d['mean_weight']:.3g} is not 1: propensities are wrong, or rare weights are missing"
        )
    return found
