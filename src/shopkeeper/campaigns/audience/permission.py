"""Who may be written to: those who agreed to it by then, and were not written to lately.

Shapes: n customers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.campaigns.audience.settings import Contact
from shopkeeper.people.consent import read_consents
from shopkeeper.people.tables import instants, read_columns
from shopkeeper.schema import MICROSECONDS_PER_DAY

NOT_AGREED = "did not agree to be written to"


def agreed(ids: pa.Array, path: Path, purpose: str, at: int) -> np.ndarray:
    """Whether each customer agrees at an instant (µs) to a purpose of a table of consents: bool (n,).

    The table is the one that datasets know: `account` (the id), `purpose`, `granted`, `withdrawn`; who has no row has
    not agreed, and nobody agrees of whom a row was granted and withdrawn again, unless another one is in force.
    """
    told = read_consents(path, purpose)
    holds = (told.granted <= at) & (at < told.withdrawn)
    return _are_in(ids, told.account.filter(pa.array(holds)))


def contact_conditions(ids: pa.Array, path: Path, rule: Contact, at: int) -> list[tuple[str, np.ndarray]]:
    """Conditions on what was sent before an instant, by a table with `user_id` and `at`, a row per message."""
    table = read_columns(path, ("user_id", "at"))
    when = instants(table["at"], path, "at")
    row = pc.fill_null(pc.index_in(table["user_id"], value_set=ids), -1).to_numpy(zero_copy_only=False)
    before = (row >= 0) & (when < at)
    row, age = row[before], (at - when[before]) / MICROSECONDS_PER_DAY
    newest = np.full(len(ids), np.inf)
    np.minimum.at(newest, row, age)
    found = [(f"written to within {rule.rest_days:g} days", newest > rule.rest_days)] if rule.rest_days else []
    if rule.most is not None:
        sent = np.bincount(row[age <= rule.within_days], minlength=len(ids))
        times = "once" if rule.most == 1 else f"{rule.most} times"
        found.append((f"written to {times} within {rule.within_days:g} days", sent < rule.most))
    return found


def _are_in(ids: pa.Array, some: pa.Array) -> np.ndarray:
    found: np.ndarray = pc.is_in(ids, value_set=pc.unique(some)).to_numpy(zero_copy_only=False)
    return found
