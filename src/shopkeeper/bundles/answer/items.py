"""A recommender in a bundle: the best items for each history.

Shapes: B requests, L positions, S items to leave out, K list length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.alone import Alone, alone
from shopkeeper.bundles.answer.answers import Answer
from shopkeeper.bundles.answer.events import Ids, Row, types_of
from shopkeeper.bundles.answer.graph import CLOSED, OTHERS, open_session, others, padded, together
from shopkeeper.bundles.answer.histories import Histories, Table, Vocabulary
from shopkeeper.bundles.answer.integrity import AGAIN, read_arrays
from shopkeeper.bundles.answer.nearest import VECTOR, Nearest
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from shopkeeper.programs.base import GRAPH
from shopkeeper.programs.own import own_items
from shopkeeper.programs.ranking import FOLDS, LIST_SCORERS, best, request_vectors
from shopkeeper.schema import EVENT_CODE, NO_HISTORY

INPUTS = (
    "history",
    "event_type",
    "exclude",
    *OTHERS,
    "own",
    "own_score",
)  # a graph may leave out what its model does not read
PACKED = ("int8", "two_steps")  # variants that multiply in whole numbers
Hidden = list[int] | np.ndarray  # internal ids that one request may not be shown
Part = list[tuple[Sequence[Row], list[int]]]  # requests that are answered in one call
REQUESTS_AT_ONCE = 64  # in one call of the graph: more would be padded to the longest of all
# Items whose scores cost as much as a position of a history: in a call of few requests what takes the time is to read
# the vectors of all items (.6 ms of 50,000; a position of two blocks takes 5 µs).
ITEMS_A_POSITION = 400
SCORES_AT_ONCE = 4_000_000  # requests x items in one call of the graph: bounds its memory


@dataclass(frozen=True)
class Parsed:
    """A history as a model reads it."""

    rows: Sequence[Row]  # the events that it reads
    items: list[int]  # their internal items
    every: list[int]  # every known item of the history, read or not
    unknown: int  # events of others


@dataclass(frozen=True)
class ItemModel:
    """A recommender that was exported."""

    path: Path
    manifest: dict[str, Any]
    vocabulary: Vocabulary
    known: bytes  # by internal id, 1: the model has learnt this item and reads it in histories
    session: Any  # onnxruntime.InferenceSession; None: `arrays` answer
    inputs: frozenset[str]  # those of INPUTS that the graph takes
    arrays: dict[str, np.ndarray]  # of a model without a graph, and the `catalogue`
    nearest: Nearest | None = None  # looks for the best items of a vector, which is all that `session` then gives

    @classmethod
    def of(
        cls,
        path: Path,
        manifest: dict[str, Any],
        content: dict[str, bytes],
        vocabulary: Vocabulary,
        threads: int,
        approximate: bool = False,
    ) -> ItemModel:
        """From the checked files of a bundle; a `UserError` when they do not fit together."""
        if missing := {"k", "n_items", "filter_seen"} - set(manifest):
            raise UserError(f"{path / 'manifest.json'} lacks '{min(missing)}'; {AGAIN}")
        if len(vocabulary.item_ids) != manifest["n_items"]:
            raise UserError(f"{path}: its item ids do not fit the model, there are not n_items of them; {AGAIN}")
        marks = vocabulary.content["known"]
        known = bytes([0]) + (bytes([1]) * manifest["n_items"] if marks is None else bytes(map(bool, marks)))
        nearest = Nearest.of(path, manifest, content) if approximate else None
        if manifest["scorer"] != GRAPH:
            arrays = read_arrays(content["arrays.npz"])
            return cls(path, manifest, vocabulary, known, None, frozenset(), arrays, nearest)
        packed = (manifest.get("variant") or {}).get("kind") in PACKED
        graph = content["model.onnx" if nearest is None else VECTOR]
        session = open_session(path, graph, threads, packed)
        inputs = frozenset(node.name for node in session.get_inputs())
        if not inputs <= set(INPUTS):
            raise UserError(f"{path / 'model.onnx'} takes {sorted(inputs)} instead of {', '.join(INPUTS)}; {AGAIN}")
        arrays = read_arrays(content["arrays.npz"]) if "arrays.npz" in content else {}
        if ("own" in inputs) != bool(arrays):
            raise UserError(f"{path}: model.onnx and arrays.npz do not belong together; {AGAIN}")
        return cls(path, manifest, vocabulary, known, session, inputs, arrays, nearest)

    @cached_property
    def knows_all(self) -> bool:
        """Whether it reads every item that it can name."""
        return all(self.known[1:])

    @cached_property
    def closes(self) -> bool:
        """Whether its graph may be told what may be shown at all, in place of a long list of what may not."""
        if self.session is None or self.nearest is not None:
            return False
        return CLOSED in {one.name for one in self.session.get_overridable_initializers()}

    @cached_property
    def alone(self) -> Alone | None:
        """How it answers one history of ids, where that needs no more."""
        return alone(self)

    @cached_property
    def _spare(self) -> int:
        """Positions of histories that a call of the graph costs by itself; without all items in it next to none."""
        return 0 if self.session is None or self.nearest is not None else len(self.known) // ITEMS_A_POSITION

    @cached_property
    def _nothing(self) -> str:
        """The reason of an empty list; older bundles gave none."""
        return str((self.manifest.get("preprocessing") or {}).get("nothing", ""))

    @property
    def k(self) -> int:
        """Longest list that it gives."""
        return int(self.manifest["k"])

    def answer(
        self,
        asked: Histories,
        seen: Counter[str],
        k: int | None = None,
        filter_seen: bool | None = None,
        exclude: Sequence[Sequence[str]] | None = None,
        basket: Sequence[Sequence[str]] | None = None,
    ) -> list[Answer]:
        """As `Bundle.answer`; `basket`: ids of lines that stand behind the histories already."""
        k, parsed, hidden = self.understood(asked, seen, k, filter_seen, exclude, basket)
        items_BK, scores_BK = self.best(parsed, asked.instant, hidden, k, seen)
        return self.answers(parsed, items_BK, scores_BK)

    def understood(
        self,
        asked: Histories,
        seen: Counter[str],
        k: int | None,
        filter_seen: bool | None,
        exclude: Sequence[Sequence[str]] | None,
        basket: Sequence[Sequence[str]] | None,
    ) -> tuple[int, list[Parsed], list[list[int]]]:
        """How many items are wanted, what is read of each history, and what may not be shown: as `answer` is told."""
        k = self.k if k is None else k
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= self.k:
            raise UserError(f"k={k!r}: this bundle gives lists of 1 to {self.k} items; export with a larger k for more")
        if filter_seen is not None and not isinstance(filter_seen, bool):
            raise UserError(f"filter_seen={filter_seen!r:.60}: write True or False")
        if filter_seen is None:
            filter_seen = bool(self.manifest["filter_seen"])
        parsed = [self.read(rows, seen) for rows in asked.rows]
        hidden = [one.every if filter_seen else [] for one in parsed]
        for left_out in (exclude, basket):
            if left_out is not None:
                hidden = [a + b for a, b in zip(hidden, self._excluded(left_out, len(parsed), seen), strict=True)]
        seen["empty_histories"] += sum(not one.items for one in parsed)
        return k, parsed, hidden

    def answers(self, parsed: Sequence[Parsed], items_BK: np.ndarray, scores_BK: np.ndarray) -> list[Answer]:
        """Lists in external ids, and the reason where nothing of a history is read."""
        found, ids, shown = [], self.vocabulary.item_ids, self.vocabulary.shown
        queries = bool(self.vocabulary.content.get("query_buckets"))
        for one, items_K, scores_K in zip(parsed, items_BK.tolist(), scores_BK.tolist(), strict=True):
            some = zip(items_K, scores_K, strict=True)
            listed = [(shown(i) if queries else ids[i - 1], s) for i, s in some if i > 0]
            reason = ("" if one.items else NO_HISTORY) if listed else self._nothing
            found.append(Answer(listed, None, reason, None, one.unknown))
        return found

    def best(
        self,
        parsed: Sequence[Parsed],
        instant: np.ndarray | None,
        hidden: Sequence[Hidden],
        k: int,
        seen: Counter[str],
        closed: np.ndarray | None = None,
        page: Sequence[np.ndarray] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Internal ids and scores of the best items, (B, K) each; 0 and -inf where fewer may be shown.

        `closed`: as `CLOSED`, where the model `closes`. `page`: what each request is about, for programs that choose
        candidates; what is not of it is hidden, too.
        """
        if len(parsed) == 1:
            (one,) = parsed
            items_BK, scores_BK = self._best([(one.rows, one.items)], instant, list(hidden), k, seen, closed, page)
            if items_BK.shape[1] >= k:
                return items_BK[:, :k], scores_BK[:, :k]
        length = np.array([len(one.items) for one in parsed], np.int64)
        order = np.argsort(length, kind="stable")  # histories of about one length together: less padding
        items, scores = np.zeros((len(parsed), k), np.int64), np.full((len(parsed), k), -np.inf, np.float32)
        most = max(1, min(REQUESTS_AT_ONCE, SCORES_AT_ONCE // len(self.known)))
        for begin, end in together(length[order].tolist(), most, self._spare):
            part = order[begin:end]
            when = None if instant is None else instant[part]
            read = [(parsed[n].rows, parsed[n].items) for n in part.tolist()]
            pages = None if page is None else [page[n] for n in part.tolist()]
            items_BK, scores_BK = self._best(read, when, [hidden[n] for n in part.tolist()], k, seen, closed, pages)
            listed = min(k, items_BK.shape[1])
            items[part, :listed], scores[part, :listed] = items_BK[:, :k], scores_BK[:, :k]
        return items, scores

    def _best(
        self,
        part: Part,
        instant: np.ndarray | None,
        hidden: list[Hidden],
        k: int,
        seen: Counter[str],
        closed: np.ndarray | None,
        page: Sequence[np.ndarray] | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Internal ids and scores of the best items, (B, K) each."""
        if self.session is not None:
            own = self._own(part, instant, seen) if self.arrays else {}
            if (longest := self.manifest["history"]["max_length"]) is not None:
                part = [(rows[-longest:], items[-longest:]) for rows, items in part]
            feed = {"history": padded([i for _, i in part]), "exclude": padded(hidden)} | own
            if "event_type" in self.inputs:
                feed["event_type"] = padded([types_of(rows) for rows, _ in part])
            channels = self.vocabulary.channels
            if "channel" in self.inputs:
                seen["unknown_channels"] += sum(
                    r.channel is not None and r.channel not in channels for h, _ in part for r in h
                )
            if not self.inputs <= feed.keys():
                feed |= others([rows for rows, _ in part], instant, self.inputs, channels)
            told = {name: feed[name] for name in self.inputs} | ({} if closed is None else {CLOSED: closed})
            found = self.session.run(None, told)
            if self.nearest is not None:
                return self.nearest.best(found[0], np.array([not items for _, items in part]), hidden, k)
            return found[0], found[1]
        requests = self._requests(part, instant, seen)
        if page is not None:
            requests = replace(requests, candidates=(np.cumsum([0, *map(len, page)]), np.concatenate(page)))
        if self.nearest is not None:
            return self.nearest.best(*request_vectors(requests, self.arrays, FOLDS[self.manifest["scorer"]]), hidden, k)
        return best(LIST_SCORERS[self.manifest["scorer"]](requests, self.arrays), self.arrays["catalogue"], hidden, k)

    def _requests(self, part: Part, instant: np.ndarray | None, seen: Counter[str]) -> Requests:
        table = Table(self.vocabulary, bool(self.manifest["history"].get("needs_time")))
        for rows, items in part:
            table.add(rows, items)
        return table.requests(instant, seen)

    def _own(self, part: Part, instant: np.ndarray | None, seen: Counter[str]) -> dict[str, np.ndarray]:
        """The own items of each history and their scores, as the graph takes them."""
        owner, item, score = own_items(self._requests(part, instant, seen), self.arrays)
        at = np.searchsorted(owner, np.arange(1, len(part)))
        items, scores = np.split(item, at), np.split(score, at)
        return {
            "own": padded([x.tolist() for x in items]),
            "own_score": padded([x.tolist() for x in scores], np.float32),
        }

    def read(self, rows: Sequence[Row], seen: Counter[str]) -> Parsed:
        """What the model reads of a history."""
        wanted, longest = self._read
        kept: Sequence[Row] | None = None
        items: list[int] = []
        every: list[int] = []
        unknown = 0
        if wanted is None or (isinstance(rows, Ids) and rows.code in wanted):  # of every event the item, if it is known
            ids = rows.ids if isinstance(rows, Ids) else [row.item_id for row in rows]
            internal = self.vocabulary.internal
            found = [internal.get(item_id, 0) for item_id in ids]
            if 0 not in found and (self.knows_all or all(map(self.known.__getitem__, found))):
                kept, items, every = rows, found, found  # which is most common
        if kept is None:
            some: list[Row] = []
            for row in rows:
                item = self.vocabulary.item(row.item_id, seen)
                if item is not None:
                    every.append(item)
                if item is None or not self.known[item]:
                    unknown += 1
                elif wanted is None or row.event_type in wanted:
                    some.append(row)
                    items.append(item)
            kept = some
        seen["unknown_items"] += unknown
        if longest is not None and len(items) > longest:
            kept, items = kept[-longest:], items[-longest:]
        return Parsed(kept, items, every, unknown)

    @cached_property
    def _read(self) -> tuple[frozenset[int] | None, int | None]:
        """Codes of the types of events that it reads, None: all; how many of the newest, None: all."""
        rules = self.manifest["history"]
        wanted = rules["event_types"]
        codes = None if wanted is None else frozenset(EVENT_CODE[name] for name in wanted)
        return codes, None if self.arrays else rules["max_length"]  # an own history looks further than its network

    def _excluded(self, exclude: Sequence[Sequence[str]], n: int, seen: Counter[str]) -> list[list[int]]:
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
        found = [[self.vocabulary.named(i, seen) for i in items] for items in exclude]
        seen["unknown_excluded"] += sum(item is None for items in found for item in items)
        return [[item for item in items if item is not None] for items in found]
