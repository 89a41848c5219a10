"""Erasure and pseudonyms: who asked to be forgotten leaves the log first of all; ids of the others can be hidden."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.data.queries import query_id
from shopkeeper.errors import UserError
from shopkeeper.ids.columns import normal_ids
from shopkeeper.ids.spelling import normal_id
from shopkeeper.ingest.log import Ids, Log
from shopkeeper.people.identity import FOREVER, Links, connect, persons_of_rows, persons_with, slice_of
from shopkeeper.people.tables import read_columns

MIN_KEY_BYTES = 16
DIGITS = 32  # hex digits of a pseudonym: 128 bits


def read_erasure(path: Path, column: str = "user_id") -> set[str]:
    """Ids to be erased: a CSV or Parquet table with a column of that name, or a `.txt` file with one id a line."""
    path = Path(path)
    if path.suffix == ".txt":
        if not path.is_file():
            raise UserError(f"{path} is missing; put the erasure list there (an empty file if nobody asked)")
        return {normal_id(line) for line in path.read_text(encoding="utf-8-sig").splitlines()} - {""}
    return set(read_columns(path, ("user_id",), (), {"user_id": column})["user_id"].to_pylist())


def erasure_hash(ids: Iterable[str], key: bytes | None = None) -> str:
    """What artifacts record of an erasure list: SHA-256 of the sorted ids, HMAC where there is a pseudonym key.

    A plain hash of a list with a single short id can be guessed; use a key where ids are secret.
    """
    text = "\n".join(sorted(ids)).encode()
    return hmac.new(key, text, hashlib.sha256).hexdigest() if key else hashlib.sha256(text).hexdigest()


def apply_erasure(log: Log, ids: set[str], links: Links | None = None, key: bytes | None = None) -> dict[str, Any]:
    """Drop, in place, every event of the listed customers under any key that was ever linked to theirs.

    Returns what the manifest keeps: the list's hash, its length, and how many rows went. Never the ids.
    """
    users = log.ids["user_id"]
    listed = pa.array(sorted(ids), pa.string())
    gone_code = np.append(pc.is_in(pc.cast(users.values, pa.string()), value_set=listed), False)
    gone = gone_code[users.codes]
    if links is not None:
        persons = connect(links, FOREVER)
        gone |= persons_with(persons, ids)[persons_of_rows(persons, log)]
    before, n_users = len(log), len(np.unique(users.codes[gone]))
    items = log.ids["item_id"]
    typed = pc.is_in(pc.cast(items.values, pa.string()), value_set=pa.array([query_id(one) for one in sorted(ids)]))
    gone |= np.append(typed, False)[items.codes]  # who of the others searched for such an id
    log.keep(~gone)
    if len(log.rejected):  # rejected rows keep the value that was wrong: it may be such an id
        values = normal_ids(log.rejected["value"].combine_chunks())
        named = pc.is_in(values, value_set=listed)
        log.rejected = log.rejected.filter(pc.invert(pc.fill_null(named, False)))
    return {"hash": erasure_hash(ids, key), "listed": len(ids), "users_found": n_users, "rows": before - len(log)}


def without_erased(links: Links, ids: set[str]) -> Links:
    """Links of the others: a key of somebody erased must not join those who stay."""
    persons = connect(links, FOREVER)
    node = pc.index_in(links.account, value_set=persons.keys).to_numpy(zero_copy_only=False).astype(np.int64)
    keep = ~persons_with(persons, ids)[persons.person[slice_of(persons, node, links.valid_from)]]
    mask = pa.array(keep)
    return Links(links.account.filter(mask), links.key.filter(mask), links.valid_from[keep], links.valid_until[keep])


def pseudonym_key(variable: str) -> bytes:
    """The secret key from an environment variable; it is never written anywhere."""
    text = os.environ.get(variable, "")
    if not text:
        raise UserError(f"pseudonyms.key_env names {variable}, which is not set; put the secret key into it")
    if len(text.encode()) < MIN_KEY_BYTES:
        raise UserError(f"the key in {variable} is shorter than {MIN_KEY_BYTES} bytes; take a longer random one")
    return text.encode()


def key_id(key: bytes) -> str:
    """Eight hex digits that say which key was used without saying anything about it."""
    return hmac.new(key, b"shopkeeper key id", hashlib.sha256).hexdigest()[:8]


def pseudonym(user: str, key: bytes) -> str:
    """HMAC-SHA256 of an id (RFC 2104), 128 bits in hex: the same person under the same key, nobody without it."""
    return hmac.new(key, user.encode(), hashlib.sha256).hexdigest()[:DIGITS]


def pseudonymise(log: Log, key: bytes) -> dict[str, Any]:
    """Replace the log's user ids by pseudonyms, in place. Internal ids follow from the order of events and stay.

    One hash per customer, not per row (about a second for a million customers).
    """
    users = log.ids["user_id"]
    values = [pseudonym(text, key) for text in users.values.to_pylist()]
    log.ids["user_id"] = Ids(users.codes, pa.array(values, users.values.type))
    return {"key_id": key_id(key), "method": "HMAC-SHA256, 128 bits"}
