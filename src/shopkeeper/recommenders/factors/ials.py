r"""iALS: weighted least squares of what each customer took, and did not take.

With confidence c_{ui} = 1 + \alpha w_{ui} of what u took (w: summed, decayed event weights) and 1 of all else,

    \min_{x, y} \sum_{u, i} c_{ui} (p_{ui} - x_u y_i)^2 + \lambda (\sum_u |x_u|^2 + \sum_i |y_i|^2), \qquad p = [w > 0]

by turns for customers and items. A request's vector is the exact solution for its own history,

    x = (Y^T Y + Y^T (C - I) Y + \lambda I)^{-1} Y^T c.

Y. Hu, Y. Koren and C. Volinsky, "Collaborative filtering for implicit feedback datasets", ICDM 2008; learned by the
package `implicit` with conjugate gradients (G. Takács, I. Pilászy and D. Tikk, RecSys 2011).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import sparse

from shopkeeper.errors import check, number, whole
from shopkeeper.programs.factors import ials
from shopkeeper.recommenders.factors.factors import Factors


class IALS(Factors):
    """Weighted matrix factorisation.

    Args:
        width: D.
        epochs: turns.
        alpha: confidence of one event.
        regularisation: lambda.
        event_weights: type: weight; null: 1 for each type that shows interest.
        half_life_days: of an event, before the customer's last one; null: all alike.
        threads: of learning; the result does not depend on them.
    """

    name, fold = "ials", staticmethod(ials)

    def __init__(
        self,
        width: int = 128,
        epochs: int = 15,
        alpha: float = 1.0,
        regularisation: float = 10.0,
        event_weights: Mapping[str, float] | None = None,
        half_life_days: float | None = 60.0,
        threads: int = 1,
    ) -> None:
        super().__init__(width, epochs, event_weights, half_life_days)
        told = {"alpha": alpha, "regularisation": regularisation, "threads": threads}
        check(told, {**dict.fromkeys(told, number(above=True)), "threads": whole(1)}, "ials: model.")
        self.alpha, self.regularisation, self.threads = alpha, regularisation, threads
        self.all_DD = np.zeros((width, width))

    def learn(self, x_UA: sparse.csr_array, seed: int) -> np.ndarray:
        """Alternate; a customer's vector does not depend on how many threads others are found in."""
        from implicit.cpu.als import AlternatingLeastSquares

        confidence = x_UA.copy()
        confidence.data = (1 + self.alpha * confidence.data).astype(np.float32)
        model = AlternatingLeastSquares(
            factors=self.width,
            regularization=self.regularisation,
            iterations=self.epochs,
            num_threads=self.threads,
            random_state=seed,
        )
        model.fit(sparse.csr_matrix(confidence), show_progress=False)
        return np.asarray(model.item_factors, np.float32)

    def prepare_answers(self) -> None:
        """Y^T Y + lambda I."""
        item_VD = self.item_VD.astype(np.float64)
        self.all_DD = item_VD.T @ item_VD + self.regularisation * np.eye(item_VD.shape[1])

    def answers_with(self) -> dict[str, np.ndarray]:
        """What `fold` reads beside the items' vectors."""
        return {"all": self.all_DD, "alpha": np.array([self.alpha])}
