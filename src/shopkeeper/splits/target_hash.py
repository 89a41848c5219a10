"""The target hash: one number that says whether two splits ask the same questions of the same people."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.data.prepared import Prepared
from shopkeeper.splits.parts import Part

# ASCII unit separator, record separator, line feed, nothing
UNIT, RECORD, LINE, NONE = (pa.scalar(text, pa.large_string()) for text in ("\x1f", "\x1e", "\n", ""))


def target_hash(prepared: Prepared, part: Part, user_ids: pa.Array | None = None) -> str:
    """SHA-256 over the sorted (external user id, instant, external target ids), in hex.

    Byte form: one line per request, `user_id US instant US target RS target RS … LF`, in UTF-8, with US = 0x1f,
    RS = 0x1e, LF = 0x0a; the instant in decimal microseconds since 1970 UTC, empty for order-only data; targets sorted
    by their UTF-8 bytes; then all lines sorted by their bytes. Internal ids and file formats do not enter it.

    Args:
        prepared: gives external ids by internal id.
        part: requests and target rows.
        user_ids: external user ids by internal id, where those in `users.parquet` are pseudonyms already.
    """
    users = prepared.users["user_id"] if user_ids is None else user_ids
    users = _flat(users)
    items = _flat(prepared.items["item_id"])
    rank = np.empty(len(items) + 1, np.int64)
    rank[pc.sort_indices(items).to_numpy() + 1] = np.arange(len(items))
    item = prepared.events.item[part.row]
    request = np.repeat(np.arange(len(part)), np.diff(part.offsets))
    if len(item) > len(part):
        item = item[np.lexsort((rank[item], request))]
    target = pc.binary_join_element_wise(items.take(pa.array(item.astype(np.int64) - 1)), NONE, RECORD)
    ends, text = _buffers(target)
    targets = pa.LargeStringArray.from_buffers(len(part), pa.py_buffer(ends[part.offsets]), text)
    user = users.take(pa.array(part.user.astype(np.int64) - 1))
    if part.instant is None:
        instant = pa.array([""] * len(part), pa.large_string())
    else:
        instant = pc.cast(pa.array(part.instant), pa.large_string())
    line = pc.binary_join_element_wise(user, instant, targets, UNIT)
    line = pc.binary_join_element_wise(line, NONE, LINE)
    ends, text = _buffers(line.take(pc.sort_indices(line)))
    return hashlib.sha256(memoryview(text)[int(ends[0]) : int(ends[-1])]).hexdigest()


def _buffers(array: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, pa.Buffer]:
    """Where each string ends (int64, one more than strings, the first is where all begin), and the bytes."""
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    _, ends, text = array.buffers()
    return np.frombuffer(ends, np.int64)[array.offset : array.offset + len(array) + 1], text or pa.py_buffer(b"")


def _flat(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return pc.cast(array, pa.large_string())
