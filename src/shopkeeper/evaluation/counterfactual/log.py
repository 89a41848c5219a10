"""A log of randomised exposures, checked: without propensities or support there is no honest estimate.

Shapes: n rounds, A actions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shopkeeper.errors import UserError


@dataclass(frozen=True)
class LoggedRounds:
    """Logged rounds, and what the policy under evaluation would have done in each. Checked when made.

    A `UserError` says why a log cannot answer: no propensities, propensities outside (0, 1], actions outside the
    target's, or a target that does what the logging policy never did.
    """

    reward: np.ndarray  # float64 (n,)
    action: np.ndarray  # int64 (n,), 0..A-1
    propensity: np.ndarray | None  # float64 (n,), probability with which the shown action had been drawn
    target: np.ndarray  # float64 (n, A), the target policy's action probabilities in each round
    cluster: np.ndarray | None = None  # int (n,), who was asked: rounds of one cluster are resampled together
    stratum: np.ndarray | None = None  # int (n,), e.g. the position: support is checked within each

    def __post_init__(self) -> None:
        """Refuse what cannot be evaluated, with the reason and the way out."""
        n = len(self.reward)
        if n == 0:
            raise UserError("the exposure log is empty: there is nothing to evaluate; check the file and its filters")
        if self.propensity is None:
            raise UserError(
                "the exposure log has no propensities: without the probability of each shown item a counterfactual "
                "estimate would be a guess; log the probability when serving, or run a randomised test"
            )
        for name in ("reward", "action", "propensity", "cluster", "stratum"):
            column = getattr(self, name)
            if column is not None and np.shape(column) != (n,):
                raise UserError(f"column {name} has shape {np.shape(column)}; give one value for each of {n} rounds")
        self._check_values(n)
        self._check_support(n)

    def _check_values(self, n: int) -> None:
        p = np.asarray(self.propensity)
        wrong = np.flatnonzero(~((p > 0) & (p <= 1)))
        if len(wrong):
            raise UserError(
                f"propensity of round {wrong[0]} is {p[wrong[0]]} ({len(wrong)} of {n} rounds are outside (0, 1]): "
                "a shown item cannot have had that probability; mend the logging or leave those days out"
            )
        wrong = np.flatnonzero(~np.isfinite(self.reward))
        if len(wrong):
            raise UserError(f"reward of round {wrong[0]} is {self.reward[wrong[0]]}; give finite rewards")
        if self.target.ndim != 2 or len(self.target) != n:
            raise UserError(f"the target policy has shape {self.target.shape}; give (rounds, actions) = ({n}, A)")
        sums = self.target.sum(axis=1)
        wrong = np.flatnonzero(~((np.abs(sums - 1) < 1e-6) & (self.target >= 0).all(axis=1)))
        if len(wrong):
            raise UserError(
                f"the target policy's probabilities in round {wrong[0]} sum to {sums[wrong[0]]:.6g} or hold a negative "
                "or missing value; give a distribution over the actions for every round"
            )
        wrong = np.flatnonzero((self.action < 0) | (self.action >= self.n_actions))
        if len(wrong):
            raise UserError(
                f"action {self.action[wrong[0]]} of round {wrong[0]} is unknown to the target policy, which has "
                f"actions 0 to {self.n_actions - 1}; give both the same list of items"
            )

    def _check_support(self, n: int) -> None:
        strata = np.zeros(n, np.int64) if self.stratum is None else np.unique(self.stratum, return_inverse=True)[1]
        n_strata = int(strata.max()) + 1
        shown = np.zeros((n_strata, self.n_actions), bool)
        shown[strata, self.action] = True
        # The mass that the target puts on actions never shown, summed round by round: a stratum at a time.
        mass = np.zeros((n_strata, self.n_actions))
        for k in range(n_strata):
            mass[k] = self.target[strata == k].sum(axis=0) / n
        lost = np.where(shown, 0, mass)
        if lost.sum() > 1e-9:
            s, a = np.unravel_index(int(lost.argmax()), lost.shape)
            where = "" if self.stratum is None else f" in stratum {np.unique(self.stratum)[s]}"
            raise UserError(
                f"no support: {lost.sum():.2%} of the target policy falls on actions that the log never shows "
                f"(most of it on action {a}{where}); restrict the target to shown actions or log with more exploration"
            )
        if not self.target_of_action.any():
            raise UserError(
                "no overlap: in no round would the target policy have shown what was shown, so the log says nothing "
                "about it; log with more exploration"
            )
        certain = (np.asarray(self.propensity) == 1) & (self.target_of_action < 1 - 1e-9)
        if certain.any():
            raise UserError(
                f"no support: in {certain.sum()} of {n} rounds the logging policy was deterministic (propensity 1) "
                "where the target would also do something else, which such a log cannot answer; log with exploration"
            )

    def __len__(self) -> int:
        return len(self.reward)

    @property
    def n_actions(self) -> int:
        """Number of actions A."""
        return self.target.shape[1]

    @property
    def target_of_action(self) -> np.ndarray:
        """Probability of the shown action under the target policy: float64 (n,)."""
        return np.take_along_axis(self.target, self.action[:, None], axis=1)[:, 0]

    @property
    def weight(self) -> np.ndarray:
        """Importance weights, target probability over propensity: float64 (n,)."""
        assert self.propensity is not None
        return self.target_of_action / self.propensity
