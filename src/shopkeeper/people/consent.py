"""Consent: an event may be used when its customer had agreed to the purpose when it happened, and does at the cutoff.

Two steps. Here, while the log is read: what happened without consent is dropped, and the changes of each customer's
consent are kept beside the events (`data/consent.py`). There, at each cutoff of a split or a cohort: customers
whose consent is not in force then are neither learned from nor asked about.

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

from shopkeeper.data.consent import LATEST, Consent
from shopkeeper.errors import UserError, nearest
from shopkeeper.ingest.log import Log
from shopkeeper.people.identity import FOREVER, Links, connect, slice_of
from shopkeeper.people.tables import instants, read_columns
from shopkeeper.timeline import iso


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
    """Drop, in place, every event that its customer has not agreed to, and note on the log who agrees when.

    Kept is what happened while consent was in force. Customers without a record have not agreed. A person with several
    accounts (see `identity`) agrees when at least one account does and none has withdrawn.

    Args:
        log: the log, user ids already merged where there are links.
        consents: records by account.
        links: how accounts become persons.
        as_of: None: each cutoff sees for itself who agrees then. An instant, µs (`LATEST`: after everything in the
            table): who does not agree then has no event left, whatever a cutoff says. Data without time
            stamps has no cutoffs: there it is `LATEST`.
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
    as_of = LATEST if when is None else as_of
    recorded = np.zeros(len(users.values), bool)
    recorded[code[code >= 0]] = True
    no_record = ~np.append(recorded, False)[users.codes]
    withdrawn = np.zeros(len(users.codes), bool)
    if as_of is not None:
        agrees = ledger.holds(np.arange(1, len(recorded) + 1), as_of)
        withdrawn = ~no_record & ~np.append(agrees, False)[users.codes]
    rows = np.flatnonzero(~no_record & ~withdrawn)
    then = np.zeros(len(users.codes), bool)
    then[rows] = True if when is None else ledger.holds(users.codes[rows] + np.int64(1), when[rows])
    before = len(np.unique(users.codes))
    total = len(log)
    log.keep(then)
    log.consent = ledger
    return {
        "as_of": "each cutoff" if as_of is None else "latest" if as_of >= LATEST else iso(as_of),
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


def _ledger(user: np.ndarray, consents: Consents, n_users: int) -> Consent:
    """The changes of each user (code + 1) of the log: only those that change whether the person agrees."""
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

    state = (running(agrees) > 0) & (running(withdraws) == 0)
    # Of several changes at one instant the last counts; what does not change the state says nothing.
    last = np.ones(len(who), bool)
    last[:-1] = (who[1:] != who[:-1]) | (at[1:] != at[:-1])
    who, at, state = who[last], at[last], state[last]
    before = np.zeros(len(who), bool)
    before[1:] = state[:-1] & (who[1:] == who[:-1])
    who, at, state = who[state != before], at[state != before], state[state != before]
    return Consent(np.searchsorted(who, np.arange(n_users + 1)).astype(np.int64), at, state)
