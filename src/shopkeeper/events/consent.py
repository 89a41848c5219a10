"""Consent: an event may be used when its customer had agreed to the purpose when it happened, and still does.

So every cutoff sees exactly the customers who had agreed by then: who agrees later has no earlier events, who has
withdrawn has none at all.

Shapes: R consent records, n rows of the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.errors import UserError, nearest
from shopkeeper.events.consent_tables import instants, read_columns
from shopkeeper.events.identity import FOREVER, Links, connect, slice_of
from shopkeeper.events.log import Log
from shopkeeper.events.splits_steps import lower_bound


@dataclass(frozen=True)
class Consents:
    """R records of one purpose: the account agreed in [granted, withdrawn)."""

    account: pa.Array  # string (R,)
    granted: np.ndarray  # int64 (R,) µs
    withdrawn: np.ndarray  # int64 (R,) µs, FOREVER where it still holds


def read_consents(path: Path, purpose: str, columns: Mapping[str, str] | None = None) -> Consents:
    """Records of a purpose from a CSV or Parquet table with `account, purpose, granted` and optionally `withdrawn`."""
    table = read_columns(path, ("account", "purpose", "granted"), ("withdrawn",), columns)
    granted = instants(table["granted"], path, "granted")
    withdrawn = np.full(len(granted), FOREVER)
    if "withdrawn" in table:
        withdrawn = instants(table["withdrawn"], path, "withdrawn", FOREVER)
    if (withdrawn < granted).any():
        row = int(np.flatnonzero(withdrawn < granted)[0])
        raise UserError(f"{path}, row {row + 2}, column withdrawn: consent ends before it was granted; mend the row")
    purposes = pc.unique(table["purpose"]).to_pylist()
    if purpose not in purposes:
        raise UserError(f"{path} knows no purpose '{purpose}'; correct consent.purpose.{nearest(purpose, purposes)}")
    mine = pc.equal(table["purpose"], purpose)
    keep = mine.to_numpy(zero_copy_only=False)
    return Consents(table["account"].filter(mine), granted[keep], withdrawn[keep])


def apply_consent(
    log: Log,
    consents: Consents,
    links: Links | None = None,
    as_of: int | None = None,
    identity_as_of: int | None = None,
) -> dict[str, Any]:
    """Drop, in place, every event that its customer has not agreed to.

    Kept is what happened while consent was in force, of customers whose consent is in force at `as_of` too (default:
    after everything in the table). Customers without a record have not agreed. A person with several accounts (see
    `identity`) agrees when at least one account does and none has withdrawn.

    Args:
        log: the log, user ids already merged where there are links.
        consents: records by account.
        links: how accounts become persons.
        as_of: instant, µs; what is withdrawn later is not seen.
        identity_as_of: instant up to which links count, µs.

    Returns:
        What the manifest keeps: rows dropped by reason, users before and after.
    """
    users = log.ids["user_id"]
    # Person of each record: the log's user code, -1 where the log does not know the account.
    account = consents.account
    if links is not None:
        persons = connect(links, FOREVER if identity_as_of is None else identity_as_of)
        node = pc.fill_null(pc.index_in(account, value_set=persons.keys), -1).to_numpy(zero_copy_only=False)
        known = np.flatnonzero(node >= 0)
        place = slice_of(persons, node[known].astype(np.int64), consents.granted[known])
        texts = np.array(account.to_pylist(), object)
        texts[known] = np.array(persons.names.to_pylist(), object)[persons.person[place]]
        account = pa.array(texts.tolist(), pa.string())
    value_set = pc.cast(users.values, pa.string())
    code = pc.fill_null(pc.index_in(account, value_set=value_set), -1).to_numpy(zero_copy_only=False)
    ledger = _ledger(code.astype(np.int64), consents, len(users.values))
    when = log.timestamp
    now = np.full(len(users.values), FOREVER - 1 if as_of is None else as_of)
    agrees_now = _in_force(ledger, np.arange(len(users.values)), now)
    recorded = np.diff(ledger.first) > 0
    no_record = ~np.append(recorded, False)[users.codes]
    withdrawn = ~no_record & ~np.append(agrees_now, False)[users.codes]
    rows = np.flatnonzero(~no_record & ~withdrawn)
    then = np.zeros(len(users.codes), bool)
    then[rows] = True if when is None else _in_force(ledger, users.codes[rows].astype(np.int64), when[rows])
    before = len(np.unique(users.codes))
    total = len(log)
    log.keep(then)
    return {
        "as_of": as_of,
        "rows_before": total,
        "rows_after": len(log),
        "dropped": {
            "no record": int(no_record.sum()),
            "withdrawn": int(withdrawn.sum()),
            "not agreed when it happened": len(rows) - int(then.sum()),
        },
        "users_before": before,
        "users_after": len(np.unique(log.ids["user_id"].codes)),
    }


@dataclass(frozen=True)
class _Ledger:
    """Per user (code) the instants at which consent changes, and how many accounts agree or have withdrawn after it."""

    first: np.ndarray  # int64 (users + 1,)
    at: np.ndarray  # int64
    agreeing: np.ndarray  # int64
    withdrawn: np.ndarray  # int64


def _ledger(user: np.ndarray, consents: Consents, n_users: int) -> _Ledger:
    keep = np.flatnonzero(user >= 0)
    account = consents.account.dictionary_encode().indices.to_numpy()[keep]
    user, granted, ended = user[keep], consents.granted[keep], consents.withdrawn[keep]
    order = np.lexsort((granted, account))
    user, account, granted, ended = user[order], account[order], granted[order], ended[order]
    again = np.zeros(len(order), bool)  # the account's earlier record had ended: this one takes the withdrawal back
    if len(order):
        same = account[1:] == account[:-1]
        if (same & (granted[1:] < ended[:-1])).any():
            row = int(np.flatnonzero(same & (granted[1:] < ended[:-1]))[0])
            text = consents.account[int(keep[order[row]])].as_py()
            raise UserError(
                f"consent of account '{text}' is recorded twice at once; make its records follow each other"
            )
        again[1:] = same
    stops = ended < FOREVER
    who = np.concatenate([user, user[stops]])
    at = np.concatenate([granted, ended[stops]])
    agrees = np.concatenate([np.ones(len(user), np.int64), np.full(int(stops.sum()), -1)])
    withdraws = np.concatenate([-again.astype(np.int64), np.ones(int(stops.sum()), np.int64)])
    order = np.lexsort((at, who))
    who, at = who[order], at[order]
    first = np.searchsorted(who, np.arange(n_users + 1))

    def running(change: np.ndarray) -> np.ndarray:
        total = np.concatenate([[0], np.cumsum(change[order])])
        return total[1:] - total[first[who]] if len(who) else total[1:]

    return _Ledger(first, at, running(agrees), running(withdraws))


def _in_force(ledger: _Ledger, user: np.ndarray, at: np.ndarray) -> np.ndarray:
    first, past = ledger.first[user], ledger.first[user + 1]
    place = lower_bound(ledger.at, first, past, at + 1) - 1  # the last change at or before the instant
    known = place >= first
    out = np.zeros(len(user), bool)
    out[known] = (ledger.agreeing[place[known]] > 0) & (ledger.withdrawn[place[known]] == 0)
    return out
