"""What was known at an instant: sums and firsts over ranges of the log, exact to the last bit, and outside attributes.

Rows strictly before an instant are found by `data.ranges.lower_bound`.

Shapes: M rows of the event log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa


def prefix(values: np.ndarray) -> np.ndarray:
    """Running total as int64 (M+1,): the sum over rows a:b is `prefix[b] - prefix[a]`.

    Integers on purpose: the difference is exact, so what happens after a cutoff (or to another customer) cannot
    change a feature even in its last bit, which with floating-point running totals it would.
    """
    total = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=total[1:], dtype=np.int64)
    return total


def first_of_key(group: np.ndarray, key: np.ndarray) -> np.ndarray:
    """True at the first row of each distinct (group, key) pair, in row order: bool (M,)."""
    order = np.lexsort((key, group))  # stable: equal pairs stay in row order
    new = np.ones(len(order), bool)
    new[1:] = (group[order][1:] != group[order][:-1]) | (key[order][1:] != key[order][:-1])
    first = np.zeros(len(order), bool)
    first[order] = new
    return first


def attributes_as_of(table: pa.Table, instants: np.ndarray, ids: np.ndarray | None = None) -> pa.Table:
    """Attributes as they were known at an instant: for each (id, instant) the last version with valid_from <= instant.

    `table` is one like `Prepared.user_versions`; `instants` int64 (n,) microseconds UTC, `ids` internal ids (n,)
    (default: 1..n). Returns n rows in the order asked for; null where nothing was known yet.
    """
    import pyarrow as pa

    kind = table.column_names[0]
    instants = np.asarray(instants, np.int64)
    asked = np.arange(1, len(instants) + 1) if ids is None else np.asarray(ids)
    assert len(asked) == len(instants)
    owner = table[kind].to_numpy().astype(np.int64)
    since = table["valid_from"].cast(pa.int64()).to_numpy()
    # One stable sort of versions and questions together; versions come first among equals: known at that instant.
    order = np.lexsort(
        (
            np.concatenate([np.zeros(len(owner), np.int8), np.ones(len(asked), np.int8)]),
            np.concatenate([since, instants]),
            np.concatenate([owner, asked]),
        )
    )
    version = order < len(owner)
    latest = np.maximum.accumulate(np.where(version, np.arange(len(order)), -1))
    source = np.full(len(asked), -1, np.int64)
    places = np.flatnonzero(~version)
    candidate = latest[places]
    rows = np.where(candidate >= 0, order[np.maximum(candidate, 0)], 0)
    question = order[places] - len(owner)
    known = (candidate >= 0) & (len(owner) > 0)
    if len(owner):
        known &= owner[rows] == asked[question]
    source[question] = np.where(known, rows, -1)
    take = pa.array(source, mask=source < 0)
    columns = {name: table[name].take(take) for name in table.column_names[2:]}
    return pa.table({kind: pa.array(asked.astype(np.int32)), **columns})
