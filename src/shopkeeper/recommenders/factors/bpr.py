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

from shopkeeper.errors import check, number
from shopkeeper.programs.factors import AGAINST, bpr
from shopkeeper.recommenders.factors.factors import Factors


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

    name, fold = "bpr", staticmethod(bpr)

    def __init__(
        self,
        width: int = 64,
        epochs: int = 100,
        learning_rate: float = 0.05,
        regularisation: float = 0.03,
        event_weights: Mapping[str, float] | None = None,
        half_life_days: float | None = None,
    ) -> None:
        super().__init__(width, epochs, event_weights, half_life_days)
        told = {"learning_rate": learning_rate, "regularisation": regularisation}
        check(told, dict.fromkeys(told, number(above=True)), "bpr: model.")
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

    def answers_with(self) -> dict[str, np.ndarray]:
        """What `fold` reads beside the items' vectors."""
        return {"against": self.against_M, "regularisation": np.array([self.regularisation])}
