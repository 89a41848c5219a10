r"""A cross-fitted reward model for DM and the doubly robust family: no round is predicted by a model that saw it.

$\hat q(x_i, a) = g(\beta^T x_i + \gamma_a + \delta^T z_{ia})$ with g logistic for rewards in {0, 1} and the identity
(ridge) otherwise. Cross-fitting: Chernozhukov et al., "Double/debiased machine learning", Econometrics Journal 2018;
for off-policy evaluation: Narita, Yasui & Yata, "Debiased off-policy evaluation for recommendation systems", RecSys
2021.

Shapes: n rounds, A actions, F context features, P pair features.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.special import expit

from shopkeeper.errors import UserError


def cross_fitted_rewards(
    reward_n: np.ndarray,
    action_n: np.ndarray,
    n_actions: int,
    context_nF: np.ndarray | None = None,
    pair_nAP: np.ndarray | None = None,
    cluster_n: np.ndarray | None = None,
    folds: int = 5,
    regularisation: float = 1.0,
    seed: int = 0,
) -> np.ndarray:
    """Predicted reward of every action in every round, each by a model fitted on the other folds: float64 (n, A).

    Whole clusters (customers) go to one fold. `pair_nAP` are features of (round, action), such as an affinity;
    `regularisation` is the weight of the L2 penalty (1 / C of scikit-learn). A fold whose training rounds have only
    one reward predicts their smoothed mean.
    """
    if folds < 2:
        raise UserError(f"folds is {folds}: cross-fitting needs at least 2")
    n = len(reward_n)
    group_n = np.arange(n) if cluster_n is None else np.unique(cluster_n, return_inverse=True)[1]
    n_groups = int(group_n.max()) + 1
    if n_groups < folds:
        raise UserError(f"{n_groups} clusters cannot fill {folds} folds; lower folds or collect more")
    fold_n = (np.random.default_rng(seed).permutation(n_groups) % folds)[group_n]
    context_nF = np.zeros((n, 0)) if context_nF is None else np.asarray(context_nF, np.float64)
    pair_nAP = np.zeros((n, n_actions, 0)) if pair_nAP is None else np.asarray(pair_nAP, np.float64)
    one_hot_nA = sparse.csr_array((np.ones(n), action_n, np.arange(n + 1)), shape=(n, n_actions))
    shown_nP = pair_nAP[np.arange(n), action_n]
    design = sparse.hstack([sparse.csr_array(context_nF), one_hot_nA, sparse.csr_array(shown_nP)]).tocsr()
    binary = bool(np.isin(reward_n, (0, 1)).all())
    predicted_nA = np.empty((n, n_actions))
    for fold in range(folds):
        out_n = fold_n == fold
        intercept, weights = _fit(design[~out_n], reward_n[~out_n], binary, regularisation)
        split_at = [context_nF.shape[1], context_nF.shape[1] + n_actions]
        beta_F, gamma_A, delta_P = np.split(weights, split_at)
        linear_nA = intercept + (context_nF[out_n] @ beta_F)[:, None] + gamma_A + pair_nAP[out_n] @ delta_P
        predicted_nA[out_n] = expit(linear_nA) if binary else linear_nA
    return predicted_nA


def _fit(
    design: sparse.csr_array, reward_n: np.ndarray, binary: bool, regularisation: float
) -> tuple[float, np.ndarray]:
    from sklearn.linear_model import LogisticRegression, Ridge

    if binary and len(np.unique(reward_n)) < 2:
        share = (reward_n.sum() + 0.5) / (len(reward_n) + 1)
        return float(np.log(share / (1 - share))), np.zeros(design.shape[1])
    if binary:
        model = LogisticRegression(C=1 / regularisation, max_iter=1000, tol=1e-6).fit(design, reward_n)
        return float(model.intercept_[0]), model.coef_[0]
    model = Ridge(alpha=regularisation, solver="lsqr").fit(design, reward_n)
    return float(model.intercept_), model.coef_
