r"""BPR: what a customer took should score above what he did not.

    \max_{x, y, b} \sum_{u, i \in u, j \notin u} \ln \sigma(s_{ui} - s_{uj}) - \lambda (|x_u|^2 + |y|^2 + b^2), \qquad
    s_{ui} = x_u y_i + b_i

by stochastic steps, j drawn as often as items are taken. A request's vector maximises the same for its own history,
each item weighing w (summed, decayed event weights), against `AGAINST` items that stand evenly along the popularity.
The objective is concave in x and its curvature at most a quarter of the differences' second moment, so steps of that
size always rise (D. Böhning and B. G. Lindsay, AISM 1988). Learning counts each item of a customer once.
S. Rendle, C. Freudenthaler, Z. Gantner and L. Schmidt-Thieme, "BPR: Bayesian personalized ranking from implicit
feedback", UAI 2009; learned by the package `implicit`.

Shapes: as in `factors`, D including the bias, M items to compare with.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import sparse
from scipy.special import expit

from shopkeeper.errors import UserError
from shopkeeper.recommenders.factors.factors import Factors

AGAINST = 32  # M
STEPS = 30


class BPR(Factors):
    """Pairwise matrix factorisation.

    Args:
        width: D without the bias.
        epochs: as many steps as there are pairs of a customer and an item, times this.
        learning_rate: of a step.
        regularisation: lambda.
        event_weights: type: weight, of a request's history; in learning, types with a weight count. null: 1 for each
            type that shows interest.
        half_life_days: of an event of a request's history, before its last one; null: all alike.
    """

    name = "bpr"

    def __init__(
        self,
        width: int = 64,
        epochs: int = 100,
        learning_rate: float = 0.05,
        regularisation: float = 0.01,
        event_weights: Mapping[str, float] | None = None,
        half_life_days: float | None = None,
    ) -> None:
        super().__init__(width, epochs, event_weights, half_life_days)
        for name, value in (("learning_rate", learning_rate), ("regularisation", regularisation)):
            if not value > 0:
                raise UserError(f"bpr: {name} is {value}; give a number above 0")
        self.learning_rate, self.regularisation = learning_rate, regularisation
        self.against_M = np.zeros(0, np.int64)

    def learn(self, x_UA: sparse.csr_array, seed: int) -> np.ndarray:
        """Steps in one thread: more overtake each other, and no two runs are the same."""
        from implicit.cpu.bpr import BayesianPersonalizedRanking

        model = BayesianPersonalizedRanking(
            factors=self.width,
            learning_rate=self.learning_rate,
            regularization=self.regularisation,
            iterations=self.epochs,
            num_threads=1,
            random_state=seed,
        )
        model.fit(sparse.csr_matrix(x_UA), show_progress=False)
        return np.asarray(model.item_factors, np.float32)

    def prepare_answers(self) -> None:
        """Items to compare with: at even steps along the cumulated popularity of those with a vector."""
        sold_V = np.cumsum(np.where((self.item_VD != 0).any(axis=1), self.fallback_V + 1e-3, 0).astype(np.float64))
        self.against_M = np.searchsorted(sold_V, (np.arange(AGAINST) + 0.5) / AGAINST * sold_V[-1])

    def fold_in(self, weight_BL: np.ndarray, item_BL: np.ndarray) -> np.ndarray:
        """The maximum for each history: float64 (B, D), the last column 1 for the bias."""
        share_BL = weight_BL.astype(np.float64) / weight_BL.sum(axis=1, keepdims=True)
        own_BLD, own_BL = np.split(self.item_VD[item_BL].astype(np.float64), [-1], axis=2)
        other_MD, other_M = np.split(self.item_VD[self.against_M].astype(np.float64), [-1], axis=1)
        own_BL, other_M = own_BL[:, :, 0], other_M[:, 0]
        taken_BM = ((item_BL[:, :, None] == self.against_M) & (weight_BL > 0)[:, :, None]).any(axis=1)
        against_BM = np.where(taken_BM, 0, 1 / AGAINST)
        own_BD, other_BD = (share_BL[:, None, :] @ own_BLD)[:, 0], against_BM @ other_MD
        cross_BDD = own_BD[:, :, None] * other_BD[:, None, :]
        moment_BDD = np.swapaxes(own_BLD * share_BL[:, :, None], 1, 2) @ own_BLD * against_BM.sum(axis=1)[:, None, None]
        moment_BDD += (other_MD.T * against_BM[:, None, :]) @ other_MD - cross_BDD - np.swapaxes(cross_BDD, 1, 2)
        step_BDD = np.linalg.inv(moment_BDD / 4 + self.regularisation * np.eye(own_BD.shape[1]))
        weight_BLM = (share_BL[:, :, None] * against_BM[:, None, :]).astype(np.float32)
        vector_BD = np.zeros_like(own_BD)
        for _ in range(STEPS):
            own = (own_BLD @ vector_BD[:, :, None])[:, :, 0] + own_BL
            other = vector_BD @ other_MD.T + other_M
            wrong_BLM = expit((other[:, None, :] - own[:, :, None]).astype(np.float32))
            wrong_BLM *= weight_BLM
            rise_BD = (wrong_BLM.sum(axis=2)[:, None, :] @ own_BLD)[:, 0] - wrong_BLM.sum(axis=1) @ other_MD
            rise_BD -= self.regularisation * vector_BD
            vector_BD += (step_BDD @ rise_BD[:, :, None])[:, :, 0]
        return np.concatenate([vector_BD, np.ones((len(vector_BD), 1))], axis=1)
