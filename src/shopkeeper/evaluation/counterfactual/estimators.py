r"""Off-policy estimators of the value $V(\pi) = E_x E_{a \sim \pi(\cdot|x)} E[r | x, a]$ of a target policy.

Each function returns one term per round; the estimate is the mean of the terms, and their spread is its noise.

Shapes and symbols: n rounds, A actions; $r_i$ reward, $a_i$ action shown, $p_i = \pi_0(a_i|x_i)$ its logged propensity,
$\pi(a|x_i)$ `target_nA`, $\hat q(x_i, a)$ `predicted_nA`, $w_i = \pi(a_i|x_i) / p_i$ the importance weight.
"""

from __future__ import annotations

import numpy as np


def importance_weights(action_n: np.ndarray, propensity_n: np.ndarray, target_nA: np.ndarray) -> np.ndarray:
    r"""$w_i = \pi(a_i | x_i) / p_i$: float64 (n,)."""
    return _of_action(target_nA, action_n) / propensity_n


def direct_method(target_nA: np.ndarray, predicted_nA: np.ndarray) -> np.ndarray:
    r"""Direct method (DM): $\sum_a \pi(a|x_i) \hat q(x_i, a)$. As biased as the reward model, low variance.

    Beygelzimer & Langford, "The offset tree for learning with partial labels", KDD 2009.

    >>> direct_method(np.array([[0.5, 0.5]]), np.array([[0.2, 0.4]]))
    array([0.3])
    """
    return (target_nA * predicted_nA).sum(axis=1)


def clipped_ips(
    reward_n: np.ndarray, action_n: np.ndarray, propensity_n: np.ndarray, target_nA: np.ndarray, clip: float = np.inf
) -> np.ndarray:
    r"""Inverse propensity scoring, clipped (IPS): $\min(w_i, M) r_i$. Unbiased for $M = \infty$, biased low below.

    Horvitz & Thompson, JASA 1952; clipping: Ionides, "Truncated importance sampling", JCGS 2008 ($M = \sqrt n$ there).

    >>> clipped_ips(np.array([1.0]), np.array([1]), np.array([0.1]), np.array([[0.5, 0.5]]), clip=4)
    array([4.])
    """
    return np.minimum(importance_weights(action_n, propensity_n, target_nA), clip) * reward_n


def snips(reward_n: np.ndarray, action_n: np.ndarray, propensity_n: np.ndarray, target_nA: np.ndarray) -> np.ndarray:
    r"""Self-normalised IPS (SNIPS): $w_i r_i / \bar w$, so that the mean is $\sum w_i r_i / \sum w_i$.

    Consistent, never outside the range of the rewards, and unchanged when a constant is added to all of them.
    Swaminathan & Joachims, "The self-normalized estimator for counterfactual learning", NeurIPS 2015.

    >>> even = np.full((2, 2), 0.5)  # weights 2.5 and 0.625
    >>> snips(np.array([1.0, 0.0]), np.array([1, 0]), np.array([0.2, 0.8]), even).tolist()
    [1.6, 0.0]
    """
    weight_n = importance_weights(action_n, propensity_n, target_nA)
    return weight_n * reward_n / weight_n.mean()


def doubly_robust(
    reward_n: np.ndarray,
    action_n: np.ndarray,
    propensity_n: np.ndarray,
    target_nA: np.ndarray,
    predicted_nA: np.ndarray,
) -> np.ndarray:
    r"""Doubly robust (DR): $\sum_a \pi(a|x_i) \hat q(x_i, a) + w_i (r_i - \hat q(x_i, a_i))$.

    Unbiased when either the propensities or the reward model are right.
    Dudík, Langford & Li, "Doubly robust policy evaluation and learning", ICML 2011.

    >>> doubly_robust(np.array([1.0]), np.array([1]), np.array([0.25]), np.array([[0.5, 0.5]]), np.array([[0.2, 0.4]]))
    array([1.5])
    """
    weight_n = importance_weights(action_n, propensity_n, target_nA)
    return _corrected(reward_n, action_n, weight_n, target_nA, predicted_nA)


def switch_dr(
    reward_n: np.ndarray,
    action_n: np.ndarray,
    propensity_n: np.ndarray,
    target_nA: np.ndarray,
    predicted_nA: np.ndarray,
    threshold: float,
) -> np.ndarray:
    r"""Switch-DR: DR where $w_i \le \tau$, the direct method where the weight is larger.

    $\sum_a \pi(a|x_i) \hat q(x_i, a) + w_i 1[w_i \le \tau] (r_i - \hat q(x_i, a_i))$.
    Wang, Agarwal & Dudík, "Optimal and adaptive off-policy evaluation in contextual bandits", ICML 2017.

    >>> even, model = np.array([[0.5, 0.5]]), np.array([[0.2, 0.4]])  # weight 2: above 1.5, not above 3
    >>> [switch_dr(np.array([1.0]), np.array([1]), np.array([0.25]), even, model, t).tolist() for t in (1.5, 3)]
    [[0.30000000000000004], [1.5]]
    """
    weight_n = importance_weights(action_n, propensity_n, target_nA)
    kept_n = np.where(weight_n <= threshold, weight_n, 0.0)
    return _corrected(reward_n, action_n, kept_n, target_nA, predicted_nA)


def dr_optimistic_shrinkage(
    reward_n: np.ndarray,
    action_n: np.ndarray,
    propensity_n: np.ndarray,
    target_nA: np.ndarray,
    predicted_nA: np.ndarray,
    shrinkage: float,
) -> np.ndarray:
    r"""DR with optimistic shrinkage (DRos): DR with $w_i$ replaced by $\frac{\lambda}{w_i^2 + \lambda} w_i$.

    $\lambda = 0$ is the direct method, $\lambda = \infty$ is DR; no shrunk weight exceeds $\sqrt\lambda / 2$.
    Su, Dimakopoulou, Krishnamurthy & Dudík, "Doubly robust off-policy evaluation with shrinkage", ICML 2020.

    >>> even, model = np.array([[0.5, 0.5]]), np.array([[0.2, 0.4]])  # weight 2 becomes 4 / (4 + 4) * 2 = 1
    >>> dr_optimistic_shrinkage(np.array([1.0]), np.array([1]), np.array([0.25]), even, model, 4.0)
    array([0.9])
    """
    weight_n = importance_weights(action_n, propensity_n, target_nA)
    if np.isfinite(shrinkage):
        weight_n = shrinkage * weight_n / (weight_n**2 + shrinkage) if shrinkage > 0 else np.zeros_like(weight_n)
    return _corrected(reward_n, action_n, weight_n, target_nA, predicted_nA)


def _of_action(matrix_nA: np.ndarray, action_n: np.ndarray) -> np.ndarray:
    return np.take_along_axis(matrix_nA, action_n[:, None], axis=1)[:, 0]


def _corrected(
    reward_n: np.ndarray, action_n: np.ndarray, weight_n: np.ndarray, target_nA: np.ndarray, predicted_nA: np.ndarray
) -> np.ndarray:
    return direct_method(target_nA, predicted_nA) + weight_n * (reward_n - _of_action(predicted_nA, action_n))
