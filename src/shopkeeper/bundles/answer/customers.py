"""A customer model in a bundle: a probability, a count or an amount from what somebody did, or why there is none.

Features are computed here by the declarations that training used (`features/customer`), with NumPy alone; a graph is
given the events themselves.

Shapes: n customers, F features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.answers import Answer
from shopkeeper.bundles.answer.events import Row, types_of
from shopkeeper.bundles.answer.graph import EVENTS_AT_ONCE, OTHERS, in_baskets, open_session, others, padded
from shopkeeper.bundles.answer.histories import VOCABULARY, Histories, Table, Vocabulary
from shopkeeper.bundles.answer.integrity import AGAIN, read_arrays
from shopkeeper.data.requests import Requests
from shopkeeper.data.session_rows import LaidOut, none_goes_on
from shopkeeper.errors import UserError
from shopkeeper.features.customer.compute import customer_features
from shopkeeper.features.customer.declared import USUAL, Features
from shopkeeper.features.customer.shop import Kinds, from_arrays, named_categories
from shopkeeper.features.session_begun import KNOWN, session_features
from shopkeeper.features.subject_pairs import KNOWN as PAIRED
from shopkeeper.features.subject_pairs import SHARES, SINCE, SUBJECT, WHEN, of_pairs
from shopkeeper.ids.spelling import normal_id
from shopkeeper.programs.base import GRAPH
from shopkeeper.programs.processes import NO_ORDER
from shopkeeper.programs.scoring import PROBABILITY_SCORERS, calibrated
from shopkeeper.programs.season import season_from
from shopkeeper.programs.waits import WAIT_SCORERS, of_hazards, shifted
from shopkeeper.schema import EVENT_CODE, MICROSECONDS_PER_DAY, NO_HISTORY

# a graph may leave out what its model does not read
INPUTS = ("history", "event_type", "since_last", *OTHERS)


@dataclass(frozen=True)
class _Told:
    """What a model says of n customers, NaN where the log knows no order of theirs."""

    value_n: np.ndarray  # float64; of pairs (n C,), customer by customer
    quantile_nQ: np.ndarray | None = None  # of waits, days
    further: Mapping[str, np.ndarray] = field(default_factory=dict)  # of further tasks, (n,) each


@dataclass(frozen=True)
class CustomerModel:
    """A model about customers that was exported, with what turns events into features."""

    manifest: dict[str, Any]
    session: Any  # onnxruntime.InferenceSession of a graph, or of a blend's network; None: `arrays` answer alone
    arrays: dict[str, np.ndarray]
    vocabulary: Vocabulary
    category: np.ndarray | None  # int32 (items + 1,), 0 where unknown
    category_since: np.ndarray | None  # int64 (items + 1,) µs
    declared: Features  # of its model

    @classmethod
    def of(
        cls, path: Path, manifest: dict[str, Any], content: dict[str, bytes], vocabulary: Vocabulary, threads: int
    ) -> CustomerModel:
        """From the checked files of a bundle; a `UserError` when they do not fit together."""
        category, since = (vocabulary.content[name] for name in ("category", "category_since"))
        if category is not None and len(category) != len(vocabulary.item_ids) + 1:
            raise UserError(f"{path / VOCABULARY}: item_ids and category do not fit together; {AGAIN}")
        arrays = {} if manifest["scorer"] == GRAPH else read_arrays(content["arrays.npz"])
        drawn = manifest["scorer"] == GRAPH or GRAPH in arrays.get("scorers", ())
        if drawn and "model.onnx" not in content:
            raise UserError(f"{path / 'model.onnx'} is not listed in the manifest, and a network answers; {AGAIN}")
        session = open_session(path, content["model.onnx"], threads) if drawn else None
        if session is not None and not (takes := {node.name for node in session.get_inputs()}) <= set(INPUTS):
            raise UserError(f"{path / 'model.onnx'} takes {sorted(takes)} instead of {', '.join(INPUTS)}; {AGAIN}")
        return cls(
            manifest,
            session,
            arrays,
            vocabulary,
            None if category is None else np.array(category, np.int32),
            None if since is None else np.array(since, np.int64),
            Features.from_json(manifest["features"]) if "features" in manifest else USUAL,
        )

    def answer(self, asked: Histories, seen: Counter[str]) -> list[Answer]:
        """As `Bundle.answer`."""
        assert asked.instant is not None, "`history.needs_instant` has been looked at"
        reasons = [self._blank(rows, t) for rows, t in zip(asked.rows, asked.instant.tolist(), strict=True)]
        scored = [n for n, reason in enumerate(reasons) if not reason]
        told = _Told(np.zeros(0))
        unknown: dict[int, int] = {}
        if scored:
            told, strange, kept = self._told([asked.rows[n] for n in scored], asked.instant[scored], seen)
            if rule := self.manifest.get("session"):
                for n in set(scored) - {scored[row] for row in kept.tolist()}:
                    reasons[n] = none_goes_on(rule["after"])
                scored = [scored[row] for row in kept.tolist()]
            unknown = dict(zip(scored, strange, strict=True))
            seen["unknown_items"] += sum(strange)
            for row in np.flatnonzero(np.isnan(told.value_n)).tolist():
                reasons[scored[row]] = NO_ORDER
        place = {n: row for row, n in enumerate(scored) if not reasons[n]}
        if "pairs" in self.manifest:
            (names,) = self.manifest["pairs"].values()
            value_nC = told.value_n.reshape(len(scored), len(names)).tolist()
            listed = {n: list(zip(names, value_nC[row], strict=True)) for n, row in place.items()}
            return [Answer.of_pairs(listed.get(n), reason, unknown.get(n, 0)) for n, reason in enumerate(reasons)]
        return [self._said(reason, place.get(n), told, unknown.get(n, 0)) for n, reason in enumerate(reasons)]

    def _told(
        self, rows: list[Sequence[Row]], instant: np.ndarray, seen: Counter[str]
    ) -> tuple[_Told, list[int], np.ndarray]:
        """What the model says of histories at instants, how many events of each it does not know, and of which of them
        that is: all, or where the task is about sessions those that go on."""
        manifest, scorer = self.manifest, self.manifest["scorer"]
        quantile_nQ, further = None, dict[str, np.ndarray]()
        if scorer == GRAPH:
            rows, instant, kept = self._until_asked(rows, instant)
            out, strange = self._drawn(rows, instant, seen, manifest["history"]["max_length"])
            raw_n = out["probabilities" if "pairs" in manifest else "probability"].astype(np.float64).ravel()
            for column, (name, head) in enumerate(manifest.get("further", {}).items()):
                raw = out["further"][:, column].astype(np.float64)
                further[name] = raw if head["calibrator"] is None else calibrated(raw, head["calibrator"])
            if "hazard" in out:
                quantile_nQ, raw_n = of_hazards(out["hazard"], manifest["shift"], manifest["horizon_days"])
        else:
            features, strange, kept = self._features(rows, instant, seen)
            strange = [strange[row] for row in kept.tolist()]
            if scorer in WAIT_SCORERS:
                found = WAIT_SCORERS[scorer](features, self.arrays)
                quantile_nQ, raw_n = shifted(*found, manifest["shift"], manifest["horizon_days"])
            else:
                raw_n = PROBABILITY_SCORERS[scorer](features, self.arrays | self._said_by_network(rows, instant))
        calibrator = manifest["calibrator"]
        value_n = raw_n if calibrator is None else calibrated(raw_n, calibrator)
        if year := manifest.get("season"):
            value_n = season_from(year).carried(value_n, instant, float(manifest["horizon_days"]), year["of_nothing"])
        return _Told(value_n, quantile_nQ, further), strange, kept

    def _said(self, reason: str, row: int | None, told: _Told, unknown: int) -> Answer:
        """The answer to one history; `row`: where its numbers stand, None where it is blank."""
        answers = self.manifest.get("answers")  # of older bundles probabilities
        if row is None:
            return Answer.of_customer(
                None, reason, answers, unknown, further=dict.fromkeys(self.manifest.get("further", ()))
            )
        beside = {name: float(values[row]) for name, values in told.further.items()}
        quantiles = None if told.quantile_nQ is None else told.quantile_nQ[row].tolist()
        return Answer.of_customer(float(told.value_n[row]), "", answers, unknown, quantiles, beside)

    def _blank(self, rows: Sequence[Row], instant: int) -> str:
        """Why this customer has no probability: evaluation asked only about active ones; "" where there is one."""
        if not rows:
            return NO_HISTORY
        wanted, days = self.manifest["active_events"], self.manifest["active_days"]
        codes = {EVENT_CODE[name] for name in wanted}
        since = -np.inf if days is None else instant - round(days * MICROSECONDS_PER_DAY)
        if not wanted or any(row.event_type in codes and (row.timestamp or 0) >= since for row in rows):
            return ""
        return f"no {' / '.join(wanted)} in the {'time' if days is None else f'{days:g} days'} before the cutoff"

    def _until_asked(
        self, histories: list[Sequence[Row]], instants: np.ndarray
    ) -> tuple[list[Sequence[Row]], np.ndarray, np.ndarray]:
        """Histories and instants as a graph is asked, and of whom: all, or where the task is about sessions those of
        whom one goes on, until the event after which is asked."""
        everybody = np.arange(len(histories))
        if (rule := self.manifest.get("session")) is None:
            return histories, instants, everybody
        table = Table(self.vocabulary, timed=True)
        for rows in histories:
            table.add(rows, [0] * len(rows))
        requests = table.requests(instants, Counter())
        kept, rows_nK = going_on(requests, instants, rule)
        assert requests.events.timestamp is not None
        until = rows_nK[:, -1] + 1 - requests.start[kept]
        cut = [histories[n][:end] for n, end in zip(kept.tolist(), until.tolist(), strict=True)]
        return cut, requests.events.timestamp[rows_nK[:, -1]], kept

    def _said_by_network(self, histories: list[Sequence[Row]], instants: np.ndarray) -> dict[str, np.ndarray]:
        """What the network of a blend says, as a blend reads it; nothing of one that has none."""
        if self.session is None:
            return {}
        (k,) = np.flatnonzero(self.arrays["scorers"] == GRAPH).tolist()
        out, _ = self._drawn(histories, instants, Counter(), int(self.arrays[f"{k}/max_length"][0]))
        return {f"{k}/said": out["probability"].astype(np.float64).ravel()}

    def _drawn(
        self, histories: list[Sequence[Row]], instants: np.ndarray, seen: Counter[str], longest: int
    ) -> tuple[dict[str, np.ndarray], list[int]]:
        """What the graph gives of customers who have events, (n, …) by name; how many items of each it knows not."""
        takes = frozenset(node.name for node in self.session.get_inputs())
        strange = len(self.vocabulary.item_ids) + 1
        baskets = "lines" in takes
        read = [rows if baskets else rows[-longest:] for rows in histories]
        numbers = [[self.vocabulary.item(row.item_id, seen) or strange for row in rows] for rows in read]
        unknown = [items.count(strange) for items in numbers]
        if baskets:
            made = [in_baskets(*pair, self.vocabulary.columns) for pair in zip(read, numbers, strict=True)]
            read, numbers = [rows[-longest:] for rows, _ in made], [items[-longest:] for _, items in made]
        by_length = np.argsort([len(rows) for rows in read], kind="stable").tolist()
        names = [node.name for node in self.session.get_outputs()]
        parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
        step = max(1, EVENTS_AT_ONCE // max(map(len, read), default=1))
        for first in range(0, len(read), step):
            part = by_length[first : first + step]
            rows, instant = [read[n] for n in part], instants[part]
            last = np.array([history[-1].timestamp for history in rows], np.int64)
            feed = {
                "history": padded([numbers[n] for n in part]),
                "event_type": padded([types_of(history) for history in rows]),
                "since_last": ((instant - last) / MICROSECONDS_PER_DAY).astype(np.float32),
                **others(rows, instant, takes, self.vocabulary.channels),
            }
            given = self.session.run(names, {name: feed[name] for name in takes})
            for name, values in zip(names, given, strict=True):
                parts[name].append(values)
        back = np.argsort(by_length)
        if not read:  # no session goes on
            return {"probability": np.zeros(0)}, unknown
        return {name: np.concatenate(values)[back] for name, values in parts.items()}, unknown

    def _features(
        self, histories: list[Sequence[Row]], instants: np.ndarray, seen: Counter[str]
    ) -> tuple[np.ndarray, list[int], np.ndarray]:
        """Features float64 (kept, F) of customers who have events, how many items of each the bundle knows not (n,),
        and who of them are asked about: all, or where the task is about sessions those of whom one goes on (kept,)."""
        known = len(self.vocabulary.item_ids)
        strange: dict[str, int] = {}  # items that the bundle does not know: different ones, of no category
        table, unknown = Table(self.vocabulary, timed=True), list[int]()
        for rows in histories:
            items = []
            for row in rows:
                item = self.vocabulary.item(row.item_id, seen)
                if item is None:
                    item = strange.setdefault(normal_id(row.item_id), known + 1 + len(strange))
                items.append(item)
            table.add(rows, items)
            unknown.append(sum(item > known for item in items) if known else 0)
        requests = table.requests(instants, seen)
        category, since = self.category, self.category_since
        if category is not None:
            category = np.append(category, np.zeros(len(strange), np.int32))
            since = None if since is None else np.append(since, np.zeros(len(strange), np.int64))
        kept, of_session = np.arange(len(histories)), None
        if rule := self.manifest.get("session"):
            kept, rows_nK = going_on(requests, instants, rule)
            assert requests.events.timestamp is not None
            instants = requests.events.timestamp[rows_nK[:, 0]]
            zone = self.manifest["history"]["time_zone"]
            of_session = session_features(requests.events, rows_nK, requests.start[kept], zone)
        offsets = np.append(requests.start, requests.end[-1:])
        shop = replace(
            from_arrays(self.arrays, len(strange)),
            zone=self.manifest["history"]["time_zone"],
            channels=tuple(self.vocabulary.channels[: self.vocabulary.content["channel_features"]]),
            category=None if category is None else Kinds(category, since, named_categories(self.arrays)),
        )
        found = customer_features(requests.events, offsets, kept + 1, instants, self.declared, shop)
        names, values = [*found.names, *(KNOWN if of_session is not None else ())], found.values
        if "pairs" in self.manifest:
            told, names = self.arrays, [*names, *PAIRED]
            day = np.clip(np.searchsorted(told[WHEN], instants, "right") - 1, 0, None)
            share_nC = (told[SHARES[0]][day], told[SHARES[1]][day])
            extra, C = np.zeros(len(strange), np.int64), share_nC[0].shape[1]
            subject_V, since_V = (np.append(told[name], extra) for name in (SUBJECT, SINCE))
            pairs = of_pairs(requests.events, requests.start, requests.end, instants, subject_V, since_V, C, share_nC)
            values = np.column_stack([np.repeat(values, C, axis=0), pairs])
        values = values if of_session is None else np.column_stack([values, of_session])
        if names != (wanted := self.manifest["feature_names"]):  # one that was exported before some were known
            if lacking := set(wanted) - set(names):
                raise UserError(
                    f"this shopkeeper does not compute {', '.join(sorted(lacking)[:3])}, on which this bundle's model "
                    f"was fitted; {AGAIN}"
                )
            values = values[:, [names.index(name) for name in wanted]]
        return values, unknown, kept


def going_on(requests: Requests, instants: np.ndarray, rule: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Of which histories a session goes on, ascending, and the rows of its first events, (kept, after): the newest."""
    user = np.repeat(np.arange(len(instants)), requests.end - requests.start)
    laid = LaidOut.of(requests.events, user, rule["gap_minutes"])
    whose = user[laid.order[laid.first]]
    chosen = laid.going_on(requests.events, instants[whose], rule["after"], rule["gap_minutes"])
    chosen = chosen[np.append(whose[chosen][1:] != whose[chosen][:-1], True)[: len(chosen)]]
    return whose[chosen], laid.first_rows(chosen, rule["after"])
