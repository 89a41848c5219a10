"""What item vectors may begin a training with, in place of random numbers: an SVD of what is known before it.

`taken_together`: of who was there for what in training, X with 1 where a customer has an event of an item, each entry
divided by the square roots of its row's and its column's sum, so that neither who takes everything nor what everybody
takes decides alone. `alike`: of what items are (`features.content`), a column for each token and number, tokens that
many items have counting less, log(n / n_token). In both cases X = U S W^T is cut off at the D largest singular values
(C. Eckart & G. Young, Psychometrika 1936), and an item's vector is its row of W S (of U S where rows are items): then
the products of these vectors are those that X itself has between items, as near as D numbers can have them.

Shapes: V = n_items + 1, D width, R at most D.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

from shopkeeper.data.split import Split
from shopkeeper.features.content import Content

SMALL = 200  # rows or columns: up to so many the whole SVD is the faster one


def taken_together(split: Split, event_types: list[int] | None, width: int) -> np.ndarray:
    """Item vectors from `split.training_rows()` of these event types (codes; None: all), float32 (V, R).

    Rows of items without an event are 0.
    """
    offsets, rows = split.training_rows(event_types)
    item, n_columns = split.prepared.events.item[rows].astype(np.int64), split.prepared.n_items + 1
    customer = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    there = sparse.coo_array((np.ones(len(item)), (customer, item)), (len(offsets) - 1, n_columns)).tocsr()
    there.data[:] = 1  # however often
    by_customer, by_item = (1 / np.sqrt(np.maximum(there.sum(axis=axis), 1)) for axis in (1, 0))
    return _cut(sparse.diags_array(by_item) @ there.T @ sparse.diags_array(by_customer), width)


def alike(content: Content, width: int) -> np.ndarray:
    """Item vectors from what items are, float32 (V, R). Rows of items of which nothing is known are 0."""
    offset_V = np.append(content.offset_V, len(content.token_E))
    tokens = sparse.csr_array(
        (content.weight_E.astype(float), content.token_E, offset_V), (len(content.offset_V), len(content.key_U))
    )
    n_items = len(content.offset_V) - 1
    rare_U = np.log(n_items / np.maximum(np.bincount(content.token_E, minlength=len(content.key_U)), 1))
    columns = [tokens @ sparse.diags_array(rare_U), sparse.csr_array(content.number_VF.astype(float))]
    return _cut(sparse.hstack(columns, format="csr"), width)


def _cut(matrix: sparse.sparray, width: int) -> np.ndarray:
    """U S of the largest singular values above rounding, the largest first; signs are free, and made the same ones."""
    matrix = sparse.csr_array(matrix)
    matrix.eliminate_zeros()
    least = min(matrix.shape)
    if least == 0 or matrix.nnz == 0:
        return np.zeros((matrix.shape[0], 0), np.float32)
    if least <= max(SMALL, width + 1):
        left, size, _ = np.linalg.svd(matrix.toarray(), full_matrices=False)
    else:
        left, size, _ = svds(matrix, width, v0=np.random.default_rng(0).random(least), return_singular_vectors="u")
    order = np.argsort(-size, kind="stable")[:width]
    order = order[size[order] > 1e-6 * size.max()]
    left = np.where(np.diff(matrix.indptr)[:, None] > 0, left[:, order], 0)
    sign = np.sign(left[np.abs(left).argmax(0), np.arange(len(order))])
    return (left * sign * size[order]).astype(np.float32)
