"""Opens a bundle of any family and answers with it: raw events or rows in, best items or a probability out.

Needs NumPy, and ONNX Runtime where the model is a graph; no torch, no PyArrow, no Polars.

    Bundle.load("exports/sasrec").answer([["B0009RF9DW", "B000142FVW"], []], k=5)
    Bundle.load("exports/leaving").answer([[("sku-1", "purchase", "2026-02-01T10:00Z")]], as_of="2026-03-01")
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shopkeeper.bundles.answer.answers import Answer
from shopkeeper.bundles.answer.baskets import with_baskets
from shopkeeper.bundles.answer.customers import CustomerModel
from shopkeeper.bundles.answer.histories import Event, Vocabulary, read
from shopkeeper.bundles.answer.integrity import AGAIN, checked_files, fitting
from shopkeeper.bundles.answer.items import ItemModel
from shopkeeper.bundles.answer.nearest import BY_INDEX, EXACT
from shopkeeper.bundles.answer.older import as_today
from shopkeeper.bundles.answer.places import Places
from shopkeeper.bundles.answer.rows import TableModel
from shopkeeper.errors import UserError, whole
from shopkeeper.programs import ranking, scoring, waits
from shopkeeper.programs.base import GRAPH
from shopkeeper.schema import EVENT_CODE, EVENT_TYPES
from shopkeeper.shapes import SWITCH, TEXT, Name, Needed, Open, Shape, check_written

SCORERS_OF_KIND = {
    "recommender": {GRAPH, *ranking.LIST_SCORERS},
    "customer": {GRAPH, *scoring.PROBABILITY_SCORERS, *waits.WAIT_SCORERS},
    "table": {*scoring.PROBABILITY_SCORERS},
}


HISTORY = Needed(Open({"usual_type": Needed(Name(EVENT_TYPES)), "time_zone": TEXT}))
SHAPES: dict[str, Shape] = {  # of what is read of a manifest
    "recommender": Open({"scorer": Needed(TEXT), "history": HISTORY, "k": Needed(whole(1)),
                         "n_items": Needed(whole(0)), "filter_seen": Needed(SWITCH)}),
    "customer": Open({"scorer": Needed(TEXT), "history": HISTORY}),
    "table": Open({"scorer": Needed(TEXT), "history": HISTORY}),
}  # fmt: skip


@dataclass
class Bundle:
    """A model that was exported. Safe to share between threads, the counters aside."""

    path: Path
    manifest: dict[str, Any]
    vocabulary: Vocabulary
    model: ItemModel | CustomerModel | TableModel
    seal: str = ""  # SHA-256 of the manifest: which bundle this is
    golden: list[dict[str, Any]] = field(default_factory=list, repr=False)  # requests whose answers are known
    places: Places | None = None  # of a recommender
    seen: Counter[str] = field(default_factory=Counter)  # over all calls: requests, events, unknown_items, …

    def __repr__(self) -> str:
        """Without the manifest, which fills a page."""
        return f"Bundle({str(self.path)!r}, model={self.manifest.get('model')!r}, task={self.manifest.get('task')!r})"

    @classmethod
    def load(cls, path: Path | str, *, threads: int = 1, approximate: bool = False) -> Bundle:
        """Check every hash, then open.

        Args:
            path: folder that `export_bundle` wrote.
            threads: threads that ONNX Runtime may use for one request.
            approximate: look for the best items in the bundle's index (`shopkeeper target faiss | usearch`), which is
                faster where there are many and may miss some; `index.recall` of the manifest says how many.

        Raises:
            UserError: not a bundle, damaged, of a newer format, ids that do not fit the model.
        """
        path = Path(path)
        manifest, content, seal = checked_files(path, EXACT if approximate else BY_INDEX)
        kind = manifest.get("kind")
        if approximate and kind != "recommender":
            raise UserError(f"{path} lists no items, so there is no index to look them up in; leave approximate out")
        if not isinstance(kind, str) or kind not in SCORERS_OF_KIND:
            raise UserError(f"{path} holds a {kind!r} bundle, unknown to this shopkeeper; update it")
        with fitting(path):
            manifest, words = as_today(path, manifest, content)
            check_written(manifest, SHAPES[kind], str(path / "manifest.json"), AGAIN)
        codes = (manifest.get("preprocessing") or {}).get("event_codes", EVENT_CODE)
        if not isinstance(codes, dict) or codes.items() - EVENT_CODE.items():
            raise UserError(f"{path} has event codes that are not this shopkeeper's; update it, or {AGAIN}")
        scorer = manifest["scorer"]
        if scorer not in SCORERS_OF_KIND[kind]:
            raise UserError(f"{path} needs the scorer '{scorer}', unknown to this shopkeeper; update it")
        program = "model.onnx" if scorer == GRAPH else "arrays.npz"
        if program not in manifest["files"]:
            raise UserError(f"{path / program} is not listed in the manifest of this {kind}; {AGAIN}")
        with fitting(path):
            vocabulary = Vocabulary.of(path, words)
            model: ItemModel | CustomerModel | TableModel
            if kind == "table":
                model = TableModel.of(path, manifest, content, vocabulary)
            elif kind == "customer":
                model = CustomerModel.of(path, manifest, content, vocabulary, threads)
            else:
                model = ItemModel.of(path, manifest, content, vocabulary, threads, approximate)
            known = json.loads(content.get("golden.json", b"{}"))
            golden = [*known.get("requests", []), *known.get("placements", [])]
            places = Places.of(model, content) if isinstance(model, ItemModel) else None
            return cls(path, manifest, vocabulary, model, seal, golden, places)

    @property
    def approximate(self) -> bool:
        """Whether it answers from its index."""
        return isinstance(self.model, ItemModel) and self.model.nearest is not None

    def answer(
        self,
        histories: Sequence[Sequence[Event]],
        as_of: Any = None,
        *,
        k: int | None = None,
        filter_seen: bool | None = None,
        exclude: Sequence[Sequence[str]] | None = None,
        basket: Sequence[Sequence[Event]] | None = None,
        placement: str | None = None,
        category: Sequence[str | None] | None = None,
    ) -> list[Answer]:
        """One answer to each history: the best items, or the probability, and the reason where there is none.

        Args:
            histories: per person the events that are known of them: `item_id` or `(item_id, event_type, time, …)` or a
                mapping, as in `events.COLUMNS`. With times in any order, without them oldest first. Of a model of a
                table of customers: per person one mapping of columns (`rows.py`), and nothing else. An event without a
                type counts as `history.usual_type` of the manifest. `seen` counts unknown items (a recommender skips
                them, for a customer model they are new ones) and ids in another spelling.
            as_of: the instant that is asked about, one for all or one for each: text (ISO 8601) or `datetime`; without
                an offset it is what the shop's clocks show. What happens at or after it is not read (counted in
                `seen["future_events"]`). Needed where `history.needs_instant` of the manifest says so.
            k: of a recommender: at most the k that was exported, which is the default.
            filter_seen: of a recommender: leave out every item of the history; default: as it was evaluated.
            exclude: of a recommender: per request a list of further items to leave out (what lies in the basket, what
                is sold out); ids that the bundle does not know are counted in `seen["unknown_excluded"]`.
            basket: of a recommender: per request the lines of the order so far, as in `histories`. They stand behind
                the history and are left out of the list: what goes with them?
            placement: of a recommender: the place of the shop that asks, one of the manifest's `placements`, whose
                filter, order and fallback make the lists (scores are 1 / place). On an item's page that item is the
                history's last one.
            category: with `placement`: per request the category whose page it is, None: all items.

        Raises:
            UserError: an event that is none or lacks the time that the model reads, an instant that is none or is
                missing, k out of range, no list of ids to exclude, a question that the model is not made for.
        """
        if type(histories) is list and len(histories) == 1 and isinstance(self.model, ItemModel):
            alone = self.model.alone if as_of is exclude is basket is placement is category is None else None
            if alone is not None and (found := alone(histories[0], k, filter_seen)) is not None:
                self.seen["requests"] += 1
                self.seen["events"] += len(histories[0])
                return [found]
        if isinstance(self.model, TableModel):
            if any(told is not None for told in (as_of, k, filter_seen, exclude, basket, placement, category)):
                raise UserError(f"{self.path} answers from rows of a table alone; leave out all but these")
            return self.model.answer(histories, self.seen)
        asked = read(histories, as_of, self.manifest["history"], self.vocabulary, self.seen)
        if isinstance(self.model, ItemModel):
            known = None
            if basket is not None:
                asked, known = with_baskets(asked, basket, self.manifest["history"])
            if placement is None and category is None:
                return self.model.answer(asked, self.seen, k, filter_seen, exclude, known)
            assert self.places is not None
            return self.places.answer(placement, asked, self.seen, k, filter_seen, exclude, known, category)
        if any(told is not None for told in (k, filter_seen, exclude, basket, placement, category)):
            raise UserError(
                f"{self.path} holds a {self.manifest['task']} model, which lists no items; leave out k, filter_seen, "
                f"exclude, basket, placement and category"
            )
        return self.model.answer(asked, self.seen)

    def recommend(
        self,
        histories: Sequence[Sequence[Event]],
        k: int | None = None,
        filter_seen: bool | None = None,
        *,
        exclude: Sequence[Sequence[str]] | None = None,
        as_of: Any = None,
        basket: Sequence[Sequence[Event]] | None = None,
        placement: str | None = None,
        category: Sequence[str | None] | None = None,
    ) -> list[list[tuple[str, float]]]:
        """The lists alone that `answer` gives."""
        if not isinstance(self.model, ItemModel):
            raise UserError(f"{self.path} holds a {self.manifest['task']} model, which lists no items; use `answer`")
        told: dict[str, Any] = {"k": k, "filter_seen": filter_seen, "exclude": exclude, "basket": basket}
        told |= {"placement": placement, "category": category}
        return [a.items or [] for a in self.answer(histories, as_of, **told)]
