"""Whose consent is in force when: what `prepare` found in the consent table, by internal user id.

`consent.parquet` of a prepared folder holds one row per change (user int32, at int64 µs, in_force bool), sorted by
(user, at). Events that happened without consent are not in the folder at all; this table says whose remaining events
may be used at a cutoff: those of customers whose consent is in force then.

Shapes: U users, C changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from shopkeeper.data.ranges import lower_bound
from shopkeeper.files import read_parquet

FILE = "consent.parquet"
LATEST = np.iinfo(np.int64).max - 1  # an instant after everything that a consent table can hold


@dataclass(frozen=True)
class Consent:
    """Changes of user u are first[u-1]:first[u], oldest first, by turns true and false; the first one is true."""

    first: np.ndarray  # int64 (U + 1,)
    at: np.ndarray  # int64 (C,) µs: from this instant on
    in_force: np.ndarray  # bool (C,)

    @classmethod
    def read(cls, folder: Path, n_users: int) -> Consent | None:
        """The ledger of a prepared folder; None where its dataset has no consent table."""
        if not (folder / FILE).is_file():
            return None
        table = read_parquet(folder / FILE)
        first = np.searchsorted(table["user"].to_numpy(), np.arange(1, n_users + 2)).astype(np.int64)
        return cls(first, table["at"].to_numpy(), table["in_force"].to_numpy())

    def of(self, users: np.ndarray) -> Consent:
        """The ledger of these users (ids, (n,)), who are 1..n in it."""
        low, times = self.first[users - 1], np.diff(self.first)[users - 1]
        first = np.concatenate([[0], np.cumsum(times)]).astype(np.int64)
        row = np.repeat(low - first[:-1], times) + np.arange(first[-1])
        return Consent(first, self.at[row], self.in_force[row])

    def until(self, instant: int) -> Consent:
        """The ledger without the changes after an instant (µs)."""
        known = self.at <= instant
        kept = np.concatenate([[0], np.cumsum(known)])
        return Consent(kept[self.first], self.at[known], self.in_force[known])

    def table(self) -> pa.Table:
        """The form of `consent.parquet`."""
        user = np.repeat(np.arange(1, len(self.first), dtype=np.int32), np.diff(self.first))
        return pa.table({"user": user, "at": self.at, "in_force": self.in_force})

    def holds(self, user: np.ndarray, at: np.ndarray | int) -> np.ndarray:
        """Whether each user (internal ids, (n,)) agrees at an instant (µs, one or (n,)): bool (n,)."""
        known = user < len(self.first)  # a user that came after the table has agreed to nothing
        row = np.where(known, user, 1) - 1
        low, high = self.first[row], np.where(known, self.first[row + 1], self.first[row])
        last = lower_bound(self.at, low, high, np.asarray(at) + 1) - 1  # the last change at or before the instant
        out = np.zeros(len(user), bool)
        found = last >= low
        out[found] = self.in_force[last[found]]
        return out

    def next_end(self, user: np.ndarray, at: np.ndarray | int) -> np.ndarray:
        """When the consent that each user has at an instant ends: µs, int64 (n,); `LATEST` + 1 where it does not."""
        row = user.astype(np.int64) - 1
        ends = np.concatenate([np.where(self.in_force, LATEST + 1, self.at), [LATEST + 1]])
        change = lower_bound(self.at, self.first[row], self.first[row + 1], np.asarray(at) + 1)
        return ends[np.where(change < self.first[row + 1], change, len(self.at))]
