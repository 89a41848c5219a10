"""Opens a bundle of either family and answers with it: raw events in, best items or a probability out.

Needs NumPy, PyArrow and ONNX Runtime; no torch, no Polars.

    bundle = Bundle.load(Path("exports/sasrec"))
    bundle.recommend([["B0009RF9DW", "B000142FVW"], []], k=5)
    Bundle.load(Path("exports/churn")).score([[("sku-1", "purchase", "2026-02-01T10:00Z")]], as_of="2026-03-01")

Shapes: B requests, L positions, S items to leave out, K list length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shopkeeper.bundles.answer.customers import CustomerModel, Score
from shopkeeper.bundles.answer.events import read_event
from shopkeeper.bundles.answer.integrity import AGAIN, checked_files, read_arrays
from shopkeeper.bundles.answer.ranking import SCORERS, best
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from shopkeeper.identifiers import normal_id
from shopkeeper.schema import EVENT_TYPES

# One event of a history: an item id, or more of what is known of it (`events.COLUMNS`). Oldest event first.
Event = str | Sequence[Any] | Mapping[str, Any]
Answer = list[tuple[str, float]]

INPUTS = ("history", "event_type", "exclude")  # a graph may leave out what its model does not read
SCORES_AT_ONCE = 4_000_000  # requests x items in one call of the graph: bounds its memory
EVENTS_AT_ONCE = 65_536  # requests x length of the longest history in one call


@dataclass
class Bundle:
    """A model that was exported. Safe to share between threads, the counters aside."""

    path: Path
    manifest: dict[str, Any]
    customers: CustomerModel | None  # None: a recommender, whose fields follow
    session: Any  # onnxruntime.InferenceSession; None: `arrays` answer
    inputs: frozenset[str]  # those of INPUTS that the graph takes
    arrays: dict[str, np.ndarray]  # of a model without a graph, and the `catalogue`
    item_ids: list[str]  # item_ids[i-1] is the external id of internal item i
    internal: dict[str, int]
    known: list[bool]  # by internal id: the model has learnt this item and reads it in histories
    # requests, events, unknown_items, …, respelled (ids known by another spelling)
    seen: Counter[str] = field(default_factory=Counter)

    @classmethod
    def load(cls, path: Path | str, *, threads: int = 1) -> Bundle:
        """Check every hash, then open.

        Args:
            path: folder that `export_bundle` wrote.
            threads: threads that ONNX Runtime may use for one request.

        Raises:
            UserError: not a bundle, damaged, of a newer format, ids that do not fit the graph.
        """
        path = Path(path)
        manifest, content = checked_files(path)
        if manifest.get("kind") == "customer":
            return cls(path, manifest, CustomerModel.of(path, manifest, content), None, frozenset(), {}, [], {}, [])
        if manifest.get("kind") != "recommender":
            raise UserError(f"{path} holds a {manifest.get('kind')!r} bundle, unknown to this shopkeeper; update it")
        if missing := {"k", "n_items", "filter_seen", "history"} - set(manifest):
            raise UserError(f"{path / 'manifest.json'} lacks '{min(missing)}'; {AGAIN}")
        scorer = manifest.get("scorer")
        if scorer is not None and scorer not in SCORERS:
            raise UserError(f"{path} needs the scorer '{scorer}', unknown to this shopkeeper; update it")
        for name in ("model.onnx" if scorer is None else "arrays.npz", "items.parquet"):
            if name not in content:
                raise UserError(f"{path / name} is not listed in the manifest of this recommender; {AGAIN}")
        items = pq.read_table(pa.BufferReader(content["items.parquet"]), columns=["item", "item_id", "known"])
        item_ids = items["item_id"].to_pylist()
        dense = np.array_equal(items["item"].to_numpy(), np.arange(1, len(item_ids) + 1))
        if not dense or len(item_ids) != manifest["n_items"] or len(set(item_ids)) != len(item_ids):
            raise UserError(
                f"{path / 'items.parquet'} does not fit the graph: ids are not 1..n_items, each once; {AGAIN}"
            )
        internal = {item_id: i for i, item_id in enumerate(item_ids, start=1)}
        session, inputs, arrays = None, frozenset[str](), {}
        if scorer is None:
            session = _session(path, content["model.onnx"], threads)
            inputs = frozenset(node.name for node in session.get_inputs())
        else:
            arrays = read_arrays(content["arrays.npz"])
        if not inputs <= set(INPUTS):
            raise UserError(f"{path / 'model.onnx'} takes {sorted(inputs)} instead of {', '.join(INPUTS)}; {AGAIN}")
        known = np.concatenate([[False], items["known"].to_numpy(zero_copy_only=False)])
        return cls(path, manifest, None, session, inputs, arrays, item_ids, internal, known.tolist())

    @property
    def k(self) -> int:
        """Longest list that this bundle gives."""
        return int(self.manifest["k"])

    @property
    def max_length(self) -> int | None:
        """So many last items of a history are read; None: all."""
        return self.manifest["history"]["max_length"]

    @property
    def event_types(self) -> list[str] | None:
        """Only events of these types are history; None: all."""
        return self.manifest["history"]["event_types"]

    @property
    def needs_time(self) -> bool:
        """Whether each event must have its time."""
        return bool(self.manifest["history"].get("needs_time"))

    def recommend(
        self,
        histories: Sequence[Sequence[Event]],
        k: int | None = None,
        filter_seen: bool | None = None,
        *,
        exclude: Sequence[Sequence[str]] | None = None,
    ) -> list[Answer]:
        """The best `k` items for each history, best first; shorter where the catalogue has no more to show.

        Args:
            histories: per request the events of one person, oldest first: `item_id` or `(item_id, event_type, time, …)`
                or a mapping, as in `events.COLUMNS`. Without a type an event counts as
                `history.usual_type` of the manifest. Unknown items are skipped and
                counted in `seen["unknown_items"]`, ids in another spelling are read and counted in
                `seen["respelled"]`; an empty history gets the fallback list.
            k: at most the k that was exported, which is the default.
            filter_seen: leave out every item of the history; default: as the model was evaluated.
            exclude: per request a list of further items to leave out (what lies in the basket, what is sold out);
                ids that the bundle does not know are counted in `seen["unknown_excluded"]`.

        Raises:
            UserError: k out of range, a history or list to exclude that is not a list of ids, an unknown event type.
        """
        if self.customers is not None:
            raise UserError(f"{self.path} holds a {self.manifest['task']} model, which lists no items; use `score`")
        k = self.k if k is None else k
        if not isinstance(k, int) or not 1 <= k <= self.k:
            raise UserError(f"k={k!r}: this bundle gives lists of 1 to {self.k} items; export with a larger k for more")
        if filter_seen is None:
            filter_seen = bool(self.manifest["filter_seen"])
        if isinstance(histories, str) or not isinstance(histories, Sequence):
            raise UserError("histories must be a list with one list of item ids per person, e.g. [['sku-1', 'sku-2']]")

        parsed = [self._history(events, position) for position, events in enumerate(histories)]
        read, types, times, every = (list(column) for column in zip(*parsed, strict=True)) if parsed else ([],) * 4
        hidden: list[list[int]] = every if filter_seen else [[] for _ in every]
        if exclude is not None:
            hidden = [a + b for a, b in zip(hidden, self._excluded(exclude, len(read)), strict=True)]
        self.seen["requests"] += len(read)
        self.seen["empty_histories"] += sum(not known for known in read)

        longest = max(map(len, read), default=1) or 1
        step = max(1, min(256, SCORES_AT_ONCE // (len(self.item_ids) + 1), EVENTS_AT_ONCE // longest))
        answers: list[Answer] = []
        for first in range(0, len(read), step):
            part = slice(first, first + step)
            if self.session is not None:
                tables = map(_padded, (read[part], types[part], hidden[part]))
                feed = {name: table for name, table in zip(INPUTS, tables, strict=True) if name in self.inputs}
                items_BK, scores_BK = self.session.run(None, feed)
            else:
                asked = Requests.from_histories(read[part], types[part], times[part] if self.needs_time else None)
                scores_BV = SCORERS[self.manifest["scorer"]](asked, self.arrays)
                items_BK, scores_BK = best(scores_BV, self.arrays["catalogue"], hidden[part], k)
            for items_K, scores_K in zip(items_BK[:, :k].tolist(), scores_BK[:, :k].tolist(), strict=True):
                shown = zip(items_K, scores_K, strict=True)
                answers.append([(self.item_ids[i - 1], score) for i, score in shown if i > 0])
        return answers

    def score(self, customers: Sequence[Sequence[Any]], *, as_of: Any) -> list[Score]:
        """The probability for each customer, or why there is none.

        Args:
            customers: per customer the events that are known of them, in any order: mappings or tuples as in
                `events.COLUMNS`, each with its time. What happens at or after `as_of` is not read (counted in
                `seen["future_events"]`); items and channels that are new since training count as such.
            as_of: the instant that is asked about, one for all or one for each: text (ISO 8601) or `datetime`;
                without an offset it is what the shop's clocks show.

        Raises:
            UserError: a recommender, an event that is none or has no time, an instant that is none.
        """
        if self.customers is None:
            raise UserError(f"{self.path} holds a recommender, which scores no customers; use `recommend`")
        return self.customers.score(customers, as_of, self.seen)

    def _item(self, item_id: str) -> int | None:
        """Internal id of an external one; another spelling of it (blanks around it, `17.0`) is read and counted."""
        item = self.internal.get(item_id)
        if item is None and (item := self.internal.get(normal_id(item_id))) is not None:
            self.seen["respelled"] += 1
        return item

    def _excluded(self, exclude: Sequence[Sequence[str]], n: int) -> list[list[int]]:
        """Internal ids to leave out of each of n requests."""
        how = "exclude wants one list of item ids per history, e.g. exclude=[['sku-1']] for one history"
        if isinstance(exclude, str) or not isinstance(exclude, Sequence):
            raise UserError(f"exclude is {exclude!r:.80}; {how}")
        for position, items in enumerate(exclude):
            if isinstance(items, str) or not isinstance(items, Sequence):
                raise UserError(f"exclude[{position}] is {items!r:.80} instead of a list; {how}")
            if wrong := [i for i in items if not isinstance(i, str)]:
                raise UserError(f"exclude[{position}] has {wrong[0]!r:.80}; ids are text, also where they are digits")
        if len(exclude) != n:
            raise UserError(f"exclude has {len(exclude)} lists for {n} histories; {how}")
        found = [[self._item(i) for i in items] for items in exclude]
        self.seen["unknown_excluded"] += sum(item is None for items in found for item in items)
        return [[item for item in items if item is not None] for items in found]

    def _history(self, events: Sequence[Event], position: int) -> tuple[list[int], list[int], list[int], list[int]]:
        """Internal ids that the model reads, their event type codes and times, and every known item of the history."""
        if isinstance(events, str) or not isinstance(events, Sequence):
            raise UserError(
                f"history {position} must be a list of item ids, not {type(events).__name__} {events!r:.80}; "
                f"histories holds one list per person, e.g. [['sku-1', 'sku-2']] for one person"
            )
        wanted = self.event_types
        usual = str(self.manifest["history"]["usual_type"])
        if (
            len(events) == 2
            and isinstance(events[1], str)
            and events[1] in EVENT_TYPES
            and self._item(str(events[1])) is None
        ):
            raise UserError(
                f"history {position} is one event with its type, {events!r:.80}; write a list of events, "
                f"e.g. [[['sku-1', 'view'], ['sku-2', 'purchase']]] for one person"
            )
        zone = str(self.manifest["history"].get("time_zone", "UTC"))
        read: list[int] = []
        codes: list[int] = []
        times: list[int] = []
        every: list[int] = []
        for event in events:
            row = read_event(event, f"history {position}", usual, zone)
            item = self._item(row.item_id)
            if item is None:
                self.seen["unknown_items"] += 1
                continue
            every.append(item)
            if not self.known[item]:
                self.seen["unknown_items"] += 1
            elif wanted is None or EVENT_TYPES[row.event_type - 1] in wanted:
                if self.needs_time and (row.timestamp is None or row.timestamp < (times or [row.timestamp])[-1]):
                    what = "has no timestamp" if row.timestamp is None else "is older than the one before it"
                    raise UserError(
                        f"history {position}: the event {event!r:.80} {what}; this model weighs events by their age, "
                        f"so it needs each as [item id, event type, time], oldest first"
                    )
                read.append(item)
                codes.append(row.event_type)
                times.append(row.timestamp or 0)
        self.seen["events"] += len(events)
        cut = 0 if self.max_length is None else max(0, len(read) - self.max_length)
        return read[cut:], codes[cut:], times[cut:], every


def _padded(lists: list[list[int]]) -> np.ndarray:
    """Lists -> int64 (B, longest), padded with 0 on the left; at least one column."""
    width = max(1, max(map(len, lists)))
    table_BL = np.zeros((len(lists), width), np.int64)
    for row, values in zip(table_BL, lists, strict=True):
        if values:
            row[-len(values) :] = values
    return table_BL


def _session(path: Path, graph: bytes, threads: int) -> Any:
    """An ONNX Runtime session on the CPU."""
    try:
        import onnxruntime
    except ImportError:
        raise UserError("answering from a bundle needs ONNX Runtime: `pip install 'shopkeeper[serving]'`") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as e:  # ONNX Runtime raises its own classes straight from Exception
        reason = str(e).splitlines()[0]
        raise UserError(
            f"{path / 'model.onnx'} cannot be opened by ONNX Runtime {onnxruntime.__version__} ({reason}); {AGAIN}"
        ) from None
