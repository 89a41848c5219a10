"""Which rows of a sparse matrix are most like those that ask, and what all neighbour models share.

Shapes: B requests, U rows of training (customers or sessions), V = n_items + 1 columns.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from shopkeeper.data.split import Split

CELLS_AT_ONCE = 20_000_000  # requests x rows, or x items, in one block: bounds the memory


def best_of_each_row(s_BU: sparse.csr_array, k: int | None) -> sparse.csr_array:
    """The k largest entries of each row, ties to the lower column; None: all of them. Sparse (B, U)."""
    if k is None or s_BU.nnz == 0 or np.diff(s_BU.indptr).max() <= k:
        return s_BU
    s = s_BU.tocoo()
    order = np.lexsort((s.col, -s.data, s.row))
    row, column, value = s.row[order], s.col[order], s.data[order]
    near = np.arange(len(row)) - np.searchsorted(row, row) < k  # 0 = the most similar
    return sparse.coo_array((value[near], (row[near], column[near])), shape=s.shape).tocsr()


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
    """Without items outside of the split's catalogue, and then without empty rows: float32 sparse."""
    kept_V = np.zeros(x_UV.shape[1], np.float32)
    kept_V[split.catalogue] = 1
    x_UV = (x_UV @ sparse.diags_array(kept_V)).tocsr()
    x_UV.eliminate_zeros()
    return x_UV[np.diff(x_UV.indptr) > 0].astype(np.float32)


def block_size(*widths: int) -> int:
    """How many requests are answered at once, where each takes the largest of these many cells."""
    return max(1, CELLS_AT_ONCE // max(*widths, 1))
