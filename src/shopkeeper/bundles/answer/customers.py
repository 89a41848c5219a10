"""Customers scored from what they did: raw events in, a probability or the reason why there is none out.

Features are computed here by the declarations that training used (`features.rfm`), with NumPy alone.

Shapes: n customers, M events of all of them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shopkeeper.bundles.answer.events import Row, read_event, read_instant
from shopkeeper.bundles.answer.integrity import AGAIN, read_arrays
from shopkeeper.bundles.answer.scorers import SCORERS, calibrated
from shopkeeper.data.requests import Events
from shopkeeper.errors import UserError
from shopkeeper.features.rfm import rfm_features
from shopkeeper.identifiers import normal_id
from shopkeeper.schema import EVENT_TYPES, MICROSECONDS_PER_DAY, NO_HISTORY

SAME_PROBABILITY = 1e-6
VOCABULARY = "vocabulary.json"


class Score(NamedTuple):
    """What is said of one customer."""

    probability: float | None  # None where blank
    reason: str = ""  # why it is blank


@dataclass(frozen=True)
class CustomerModel:
    """A churn or propensity model that was exported, with what turns events into features."""

    manifest: dict[str, Any]
    arrays: dict[str, np.ndarray]
    vocabulary: dict[str, Any]
    internal: dict[str, int]  # item id -> row of `category`; empty where categories are not known
    category: np.ndarray | None  # int32 (items + 1,), 0 where unknown
    category_since: np.ndarray | None  # int64 (items + 1,) µs

    @classmethod
    def of(cls, path: Path, manifest: dict[str, Any], content: dict[str, bytes]) -> CustomerModel:
        """From the checked files of a bundle; a `UserError` when they do not fit together."""
        if manifest["format_version"] < 2:
            raise UserError(
                f"{path} has bundle format 1, whose customer models wanted finished features; {AGAIN} "
                f"to have it answer from events"
            )
        if manifest.get("scorer") not in SCORERS:
            raise UserError(
                f"{path} needs the scorer '{manifest.get('scorer')}', unknown to this shopkeeper; update it"
            )
        for name in ("arrays.npz", VOCABULARY):
            if name not in content:
                raise UserError(f"{path / name} is not listed in the manifest of this customer model; {AGAIN}")
        arrays = read_arrays(content["arrays.npz"])
        vocabulary = json.loads(content[VOCABULARY])
        items, category, since = (vocabulary[name] for name in ("item_ids", "category", "category_since"))
        internal = {item_id: i for i, item_id in enumerate(items or (), start=1)}
        if category is not None and len(category) != len(internal) + 1:
            raise UserError(f"{path / VOCABULARY}: item_ids and category do not fit together; {AGAIN}")
        return cls(
            manifest,
            arrays,
            vocabulary,
            internal,
            None if category is None else np.array(category, np.int32),
            None if since is None else np.array(since, np.int64),
        )

    def score(self, histories: Sequence[Sequence[Any]], as_of: Any, seen: Counter[str]) -> list[Score]:
        """As `Bundle.score`."""
        if isinstance(histories, str) or not isinstance(histories, Sequence):
            raise UserError("customers must be a list with one list of events per customer")
        read = [self._history(events, f"customer {n}") for n, events in enumerate(histories)]
        instants = self._instants(as_of, len(read))
        for rows, instant in zip(read, instants.tolist(), strict=True):
            seen["future_events"] += sum(row.timestamp is not None and row.timestamp >= instant for row in rows)
        seen["customers"] += len(read)
        seen["events"] += sum(map(len, read))
        reasons = [self._blank(rows, t) for rows, t in zip(read, instants.tolist(), strict=True)]
        asked = [n for n, reason in enumerate(reasons) if not reason]
        found: dict[int, float] = {}
        if asked:
            features_nF = self._features([read[n] for n in asked], instants[asked], seen)
            raw_n = SCORERS[self.manifest["scorer"]](features_nF, self.arrays)
            calibrator = self.manifest["calibrator"]
            raw_n = raw_n if calibrator is None else calibrated(raw_n, calibrator)
            found = dict(zip(asked, raw_n.tolist(), strict=True))
        return [Score(found.get(n), reason) for n, reason in enumerate(reasons)]

    def _history(self, events: Sequence[Any], where: str) -> list[Row]:
        """Events of one customer, checked and in order of time."""
        if isinstance(events, str) or not isinstance(events, Sequence):
            raise UserError(f"{where} must be a list of events, not {type(events).__name__} {events!r:.80}")
        usual, zone = self.vocabulary["usual_type"], self.vocabulary["time_zone"]
        rows = [read_event(event, where, usual, zone) for event in events]
        for event, row in zip(events, rows, strict=True):
            if row.timestamp is None:
                raise UserError(f"{where}: the event {event!r:.80} has no timestamp; customer models need one each")
        return sorted(rows, key=lambda row: row.timestamp or 0)

    def _instants(self, as_of: Any, n: int) -> np.ndarray:
        """The instant that each customer is asked about: int64 (n,) µs UTC."""
        one = isinstance(as_of, str | datetime) or not isinstance(as_of, Sequence)
        each = [as_of] * n if one else list(as_of)
        if len(each) != n:
            raise UserError(f"as_of has {len(each)} instants for {n} customers; give one for all, or one for each")
        return np.array([read_instant(t, "as_of", self.vocabulary["time_zone"]) for t in each], np.int64)

    def _blank(self, rows: list[Row], instant: int) -> str:
        """Why this customer has no probability: evaluation asked only about active ones; "" where there is one."""
        before = [row for row in rows if row.timestamp is not None and row.timestamp < instant]
        if not before:
            return NO_HISTORY
        wanted, days = self.manifest["active_events"], self.manifest["active_days"]
        since = -np.inf if days is None else instant - round(days * MICROSECONDS_PER_DAY)
        here = any(EVENT_TYPES[row.event_type - 1] in wanted and (row.timestamp or 0) >= since for row in before)
        if here or not wanted:
            return ""
        return f"no {' / '.join(wanted)} in the {'time' if days is None else f'{days:g} days'} before the cutoff"

    def _features(self, histories: list[list[Row]], instants: np.ndarray, seen: Counter[str]) -> np.ndarray:
        """Features float64 (n, F) of customers who have events."""
        rows = [row for history in histories for row in history]
        offsets = np.concatenate([[0], np.cumsum([len(h) for h in histories])]).astype(np.int64)
        columns, channels = self.vocabulary["columns"], self.vocabulary["channels"]
        code = {name: c for c, name in enumerate(channels, start=1)}
        order: dict[str, int] = {}
        strange: dict[str, int] = {}  # items that the bundle does not know: different ones, of no category
        seen["unknown_channels"] += sum(row.channel is not None and row.channel not in code for row in rows)

        def item(item_id: str) -> int:
            known = self.internal.get(item_id) or self.internal.get(normal_id(item_id))
            return known or strange.setdefault(normal_id(item_id), len(self.internal) + 1 + len(strange))

        def column(name: str, values: list[Any], dtype: Any) -> np.ndarray | None:
            return np.array(values, dtype) if name in columns else None  # what training did not have is not read

        numbers = np.array([item(row.item_id) for row in rows], np.int32)
        seen["unknown_items"] += int((numbers > len(self.internal)).sum()) if self.internal else 0
        orders = [0 if not row.order_id else order.setdefault(row.order_id, len(order) + 1) for row in rows]
        events = Events(
            numbers,
            np.array([row.event_type for row in rows], np.int8),
            np.array([row.timestamp for row in rows], np.int64),
            column("price", [row.price for row in rows], np.float64),
            column("quantity", [row.quantity for row in rows], np.float64),
            column("order", orders, np.int32),
            None,
            column("channel", [code.get(row.channel or "", 0) for row in rows], np.int32),
        )
        category, since = self.category, self.category_since
        if category is not None:
            category = np.append(category, np.zeros(len(strange), np.int32))
            since = None if since is None else np.append(since, np.zeros(len(strange), np.int64))
        table = rfm_features(
            events,
            offsets,
            np.arange(1, len(histories) + 1),
            instants,
            category,
            channels[: self.vocabulary["channel_features"]],
            category_since=since,
            zone=self.vocabulary["time_zone"],
        )
        if list(table.names) != self.manifest["feature_names"]:
            raise UserError(f"this shopkeeper computes other features than this bundle's model was fitted on; {AGAIN}")
        return table.values
