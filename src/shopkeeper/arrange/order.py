"""From file order to the order of the prepared folder: by user, time, file order; ids dense from 1 by appearance.

Sorting by user is a counting sort (scipy's CSR to CSC conversion, which keeps the order of equal keys), after a
stable sort by time where the log is not in time order already.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix

from shopkeeper.arrange.pieces import pieces, taken
from shopkeeper.data.consent import Consent
from shopkeeper.data.stored import code_type
from shopkeeper.ingest.log import BESIDE, Log


@dataclass
class Arranged:
    """Events sorted by (user, timestamp, file order); n rows, internal ids dense from 1."""

    offsets: np.ndarray  # int64 (n_users + 1,)
    columns: dict[str, np.ndarray]  # item, event_type, timestamp, price, quantity, order, session, channel, "file:…"
    names: dict[str, pa.Array]  # user_id, item_id, …: text of id 1, 2, …
    rows: np.ndarray  # row of the log at each place, intp (n,)
    consent: Consent | None = None  # by internal user id, where a consent table was applied
    real_users: pa.Array | None = None  # external ids by internal id before pseudonyms; never written

    @property
    def user(self) -> np.ndarray:
        """Internal user id of every row, int32 (n,)."""
        return np.repeat(np.arange(1, len(self.offsets), dtype=np.int32), np.diff(self.offsets))


COLUMN_OF = {"item_id": "item", "order_id": "order", "session_id": "session", "channel": "channel"}


def arrange(log: Log, known: dict[str, pa.Array] | None = None) -> Arranged:
    """Sort a log and number its ids by first appearance in (timestamp, file order). The log's columns are used up.

    With `known` (texts of the ids that exist already) these keep their numbers and new ones follow.
    """
    n = len(log)
    times, users = log.timestamp, log.ids["user_id"].values
    by_time = None if times is None or _ascending(times) else np.argsort(times, kind="stable")

    def numbered(name: str) -> tuple[np.ndarray, pa.Array]:
        ids = log.ids.pop(name)
        codes = ids.codes if by_time is None else taken(ids.codes, by_time)
        return number(codes, ids.values, (known or {}).get(name))

    others = [name for name in log.ids if name != "user_id"]
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(lambda: [numbered(name) for name in others])
        if n > BESIDE:
            coming.result()
        user, texts = numbered("user_id")
        by_user, offsets = group(user, len(texts))
        del user
        found = dict(zip(others, coming.result(), strict=True))
        del coming  # each column goes once it is in order
    names = {"user_id": texts} | {name: texts for name, (_, texts) in found.items()}
    codes = {name: codes for name, (codes, _) in found.items()}
    del found
    rows = by_user if by_time is None else taken(by_time, by_user)
    columns = {COLUMN_OF.get(name, name): taken(codes.pop(name), by_user) for name in others}
    if "channel" in columns:
        columns["channel"] = columns["channel"].astype(code_type(len(names["channel"])))
    columns["event_type"] = taken(log.event_type, rows)
    for name in ("timestamp", "price", "quantity"):
        values = getattr(log, name)
        if values is not None:
            columns[name] = taken(values, rows)
            setattr(log, name, None)
    assert len(rows) == n
    return with_customers(Arranged(offsets, columns, names, rows), log, users)


def with_customers(arranged: Arranged, log: Log, users: pa.Array) -> Arranged:
    """The arranged log with what its log knows of customers (`users`: the text of each user code) by internal id."""
    if log.consent is None and log.real_users is None:
        return arranged
    names = arranged.names["user_id"]
    code = pc.index_in(names, value_set=users.cast(names.type))
    real_users = None if log.real_users is None else log.real_users.take(code)
    consent = None if log.consent is None else log.consent.of(code.to_numpy(zero_copy_only=False) + 1)
    return replace(arranged, consent=consent, real_users=real_users)


def number(codes: np.ndarray, values: pa.Array, known: pa.Array | None = None) -> tuple[np.ndarray, pa.Array]:
    """Codes (int32, -1 = none) as ids dense from 1 by first appearance (0 = none), and the text of each id."""
    first = np.full(len(values) + 1, len(codes), np.int64)
    for piece in reversed(list(pieces(len(codes)))):  # of repeated codes the last assignment stays: the first row
        first[codes[piece][::-1]] = np.arange(piece.stop - 1, piece.start - 1, -1)
    first[-1] = len(codes)  # code -1
    if known is not None:
        old = pc.fill_null(pc.index_in(values, value_set=known), -1).to_numpy(zero_copy_only=False)
        first[:-1] = np.where(old >= 0, len(codes), first[:-1])
    order = np.argsort(first[:-1], kind="stable")
    order = order[: np.count_nonzero(first[:-1] < len(codes))]
    base = 0 if known is None else len(known)
    ids = np.zeros(len(values) + 1, np.int32)
    ids[order] = np.arange(base + 1, base + len(order) + 1, dtype=np.int32)
    fresh = values.take(pa.array(order))
    if known is None:
        return taken(ids, codes), fresh
    ids[:-1] = np.where(old >= 0, old + 1, ids[:-1])
    return taken(ids, codes), pa.concat_arrays([known, fresh])


def group(user: np.ndarray, n_users: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows in the order of their users (ids 1..n_users), stable, and where each user's rows start and end.

    Returns rows (n,) and offsets int64 (n_users + 1,). O(n): one counting sort.
    """
    n = len(user)
    if n >= 2**31 - 1:  # the sparse matrix would need 64-bit indices
        return np.argsort(user, kind="stable"), np.searchsorted(np.sort(user), np.arange(1, n_users + 2))
    pointers = np.arange(n + 1, dtype=np.int32)
    matrix = csr_matrix((np.ones(n, np.int8), user, pointers), shape=(n, n_users + 1), copy=False).tocsc()
    return matrix.indices, matrix.indptr[1:].astype(np.int64)  # no row is of user 0


def _ascending(times: np.ndarray, step: int = 1 << 20) -> bool:
    return all(
        bool((times[at + 1 : at + 1 + step] >= times[at : at + step][: len(times) - at - 1]).all())
        for at in range(0, max(len(times) - 1, 0), step)
    )
