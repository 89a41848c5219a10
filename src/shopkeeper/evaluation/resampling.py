"""How customers are drawn anew, for every interval and p-value: with replacement, or with a fair sign each.

A customer is drawn with all rows, and in all models and metrics alike. The draws depend on the seed and the number of
customers alone: what is asked of the same customers is resampled alike, however the draws are cut into blocks.

Shapes: U customers, R resamples, n rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

CELLS = 200_000  # rows x resamples worked on at once: stays in the cache


def drawn(n_users: int, resamples: int, seed: int, block: int) -> Iterator[np.ndarray]:
    """How often each customer is drawn with replacement: blocks of float64 (up to `block`, U), R rows in all.

    A block is overwritten by the next one.
    """
    rng = np.random.default_rng(seed)
    weight = np.empty((min(block, resamples), n_users))
    for first in range(0, resamples, block):
        rows = weight[: min(block, resamples - first)]
        for row in rows:
            row[:] = np.bincount(rng.integers(0, n_users, n_users), minlength=n_users)
        yield rows


def drawn_rows(customer: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each row is drawn, by the number of its customer, int (n,) from 0 without gaps: blocks of (rows, n)."""
    n_customers = int(customer.max()) + 1
    block = max(1, CELLS // max(len(customer), n_customers))
    for weight in drawn(n_customers, resamples, seed, block):
        yield weight[:, customer]


def flipped(n_users: int, resamples: int, seed: int, block: int) -> Iterator[np.ndarray]:
    """One fair coin per customer, 1 for plus: blocks of uint8 (up to `block`, U), R rows in all.

    `block` is a multiple of eight, by which the coins are the same however they are cut.
    """
    assert block % 8 == 0
    rng = np.random.default_rng([seed, 1])
    for first in range(0, resamples, block):
        rows = min(block, resamples - first)
        bits = np.frombuffer(rng.bytes(rows * (-(-n_users // 8))), np.uint8).reshape(rows, -1)
        yield np.unpackbits(bits, axis=1, count=n_users)
