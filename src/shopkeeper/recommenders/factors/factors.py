"""What iALS and BPR share: what is counted, how requests are answered, what is saved.

The library learns the items' vectors; a request's is found at answer time from its own history with NumPy alone, so
strangers are answered as well as customers, nothing after the cutoff is used, and answering needs no library.

Shapes: B requests, U training customers, V = n_items + 1 columns, D width, L items of a history (padded).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np
from scipy import sparse

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError, check, number, or_null, whole
from shopkeeper.models.about import VECTORS, About
from shopkeeper.models.fit import Fit
from shopkeeper.programs.base import Program
from shopkeeper.programs.factors import Fold, folded
from shopkeeper.recommenders.arrays import load_arrays, save_arrays
from shopkeeper.recommenders.counting.personal_frequency import own_counts
from shopkeeper.recommenders.counting.popularity import counted_types, item_popularity, type_weights
from shopkeeper.schema import INTEREST_TYPES


class Factors:
    """A recommender whose scores are inner products with items' vectors, request vectors folded in.

    A family gives its `name`, `learn` (items' vectors from weights of customers and items) and `fold`.
    """

    name: ClassVar[str]
    fold: Fold  # request vectors (B, D) from the weights (0: padding) of the histories' items

    def __init__(
        self, width: int, epochs: int, event_weights: Mapping[str, float] | None, half_life_days: float | None
    ) -> None:
        told = {"width": width, "epochs": epochs, "half_life_days": half_life_days}
        rules = {"width": whole(1), "epochs": whole(1), "half_life_days": or_null(number(above=True))}
        check(told, rules, f"{self.name}: model.")
        self.width, self.epochs, self.half_life_days = width, epochs, half_life_days
        self.weight_of_type = type_weights(event_weights or dict.fromkeys(INTEREST_TYPES, 1.0))
        reads = ("event_type",) if half_life_days is None else ("event_type", "timestamp")
        self.about = About(VECTORS, reads=reads, types=counted_types(self.weight_of_type))
        self.item_VD = np.zeros((1, width), np.float32)
        self.fallback_V = np.zeros(1, np.float32)

    def learn(self, x_UA: sparse.csr_array, seed: int) -> np.ndarray:
        """Items' vectors float32 (A, D) from the weights of customers and items with training rows."""
        raise NotImplementedError

    def answers_with(self) -> dict[str, np.ndarray]:
        """What `fold` reads beside the items' vectors."""
        raise NotImplementedError

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> None:
        """Learn the vectors of the items with training rows; all other items' are zero."""
        self.fallback_V = item_popularity(prepared, split, dict.fromkeys(fit.target_events, 1.0))
        trained = Requests(prepared.events, prepared.offsets[:-1], np.asarray(split.train_end))
        x_UV = self._weights(trained, prepared.n_items + 1)
        seen = np.zeros(x_UV.shape[1], bool)
        seen[split.known] = True
        seen[np.bincount(x_UV.indices, minlength=len(seen)) == 0] = False
        x_UA = x_UV[:, np.flatnonzero(seen)].tocsr()
        x_UA = x_UA[np.diff(x_UA.indptr) > 0]
        self.item_VD = np.zeros((len(seen), self.width), np.float32)
        if x_UA.nnz:
            with library():
                from implicit.recommender_base import ModelFitError

                try:
                    vectors_AD = self.learn(x_UA, fit.seed)
                except ModelFitError:  # its own words for vectors that are no numbers
                    vectors_AD = np.full((int(seen.sum()), self.width), np.nan, np.float32)
            self.item_VD = np.zeros((len(seen), vectors_AD.shape[1]), np.float32)
            self.item_VD[seen] = vectors_AD
        if not np.isfinite(self.item_VD).all():
            raise UserError(
                f"{self.name}: the vectors grew beyond all bounds; give more regularisation, or smaller steps"
            )
        self.prepare_answers()

    def prepare_answers(self) -> None:
        """What `fold` needs beside the items' vectors, made once."""

    def _weights(self, requests: Requests, n_columns: int) -> sparse.csr_array:
        return own_counts(requests, n_columns, self.weight_of_type, self.half_life_days)

    def encode(self, requests: Requests) -> tuple[np.ndarray, np.ndarray]:
        """Request vectors float32 (B, D), and bool (B,): nothing in the history has a vector."""
        x_BV = self._weights(requests, len(self.fallback_V))
        has_V = (self.item_VD != 0).any(axis=1)
        x_BV.data[~has_V[x_BV.indices]] = 0
        x_BV.eliminate_zeros()
        arrays = {"item": self.item_VD, **self.answers_with()}
        return folded(x_BV.indptr, x_BV.indices, x_BV.data, arrays, self.fold), np.diff(x_BV.indptr) == 0

    def item_vectors(self) -> np.ndarray:
        """Items' vectors float32 (V, D)."""
        return self.item_VD

    def fallback(self) -> np.ndarray:
        """Popularity float32 (V,)."""
        return self.fallback_V

    def score(self, requests: Requests) -> np.ndarray:
        """Inner products, or popularity where no item of the history has a vector: float32 (B, V)."""
        vector_BD, without = self.encode(requests)
        scores_BV = vector_BD @ self.item_VD.T
        scores_BV[without] = self.fallback_V
        return scores_BV

    def program(self, timed: bool) -> Program:
        """The items' vectors, the fallback, and how a history is weighed."""
        half_life = self.half_life_days if timed else None
        arrays = {"item": self.item_VD, "fallback": self.fallback_V, **self.answers_with()}
        arrays |= {"weight_of_type": self.weight_of_type, "half_life_days": np.array([half_life or 0.0])}
        return Program(self.name, arrays, needs_time=half_life is not None)

    def save(self, folder: Path) -> None:
        """Write the items' vectors and the fallback as `weights.npz`."""
        save_arrays(folder, self.name, {"item": self.item_VD, "fallback": self.fallback_V})

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        a = load_arrays(folder, self.name, ("item", "fallback"))
        self.item_VD, self.fallback_V = a["item"], a["fallback"]
        self.prepare_answers()


@contextmanager
def library() -> Iterator[None]:
    """`implicit`, or what to install; one thread of BLAS, as it asks for: its own threads are all that there are."""
    try:
        import implicit  # noqa: F401
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise UserError(
            "models ials and bpr learn with the package implicit, which is not installed: pip install "
            "'shopkeeper[factors]', or take model=ease"
        ) from None
    with threadpool_limits(1, "blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
