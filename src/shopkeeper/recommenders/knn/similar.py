"""Which rows of a sparse matrix are most like those that ask, and what all neighbour models share.

Shapes: B requests, U rows of training (customers or sessions), V = n_items + 1 columns.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from shopkeeper.data.split import Split
from shopkeeper.metrics.best import best_entries


def best_of_each_row(s_BU: sparse.csr_array, k: int | None) -> sparse.csr_array:
    """The k largest entries of each row, ties to the lower column; None: all of them. Sparse (B, U)."""
    if k is None or s_BU.nnz == 0 or np.diff(s_BU.indptr).max() <= k:
        return s_BU
    place = np.sort(best_entries(s_BU.indptr, s_BU.indices, s_BU.data, k))
    row = np.searchsorted(s_BU.indptr, place, side="right") - 1
    best = sparse.coo_array((s_BU.data[place], (row, s_BU.indices[place])), shape=s_BU.shape).tocsr()
    best.sort_indices()  # sums of what follows depend on the order
    return best


def asymmetric_cosine(own_BV: sparse.csr_array, x_UV: sparse.csr_array, asymmetry: float) -> sparse.csr_array:
    r"""x_b x_u / (\|x_b\|^{2 \alpha} \|x_u\|^{2 (1 - \alpha)}); \alpha = 1/2 is the cosine: float32 sparse (B, U).

    F. Aiolli, "Efficient top-N recommendation for very large scale binary rated datasets", RecSys 2013.
    """
    s_BU = (own_BV @ x_UV.T).tocsr()
    own_B, of_U = own_BV.power(2).sum(axis=1), x_UV.power(2).sum(axis=1)
    row = np.repeat(np.arange(s_BU.shape[0]), np.diff(s_BU.indptr))
    s_BU.data = (s_BU.data / (own_B[row] ** asymmetry * of_U[s_BU.indices] ** (1 - asymmetry))).astype(np.float32)
    return s_BU


def in_catalogue(x_UV: sparse.csr_array, split: Split) -> sparse.csr_array:
    """Without items that the split does not know, and then without empty rows: float32 sparse."""
    kept_V = np.zeros(x_UV.shape[1], np.float32)
    kept_V[split.known] = 1
    x_UV = (x_UV @ sparse.diags_array(kept_V)).tocsr()
    x_UV.eliminate_zeros()
    return x_UV[np.diff(x_UV.indptr) > 0].astype(np.float32)
