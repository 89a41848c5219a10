"""What a bundle of a recommender holds beside its program, and how it is held against the trained model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.answers import Answer
from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.answer.events import write_instant
from shopkeeper.bundles.write import golden as cases_of
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.bundles.write.placements import Place, PlaceQuestions
from shopkeeper.data.offered import buckets_of
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.queries import as_typed
from shopkeeper.data.split import Split
from shopkeeper.programs.base import GRAPH, Program
from shopkeeper.recommenders.base import untyped_event

# Checked beside the golden ones: of test's customers, of histories that nobody had, and the same in every odd form.
REAL_CASES, RANDOM_CASES, ODD_CASES = 500, 200, 300


class ItemQuestions:
    """Requests for lists of items."""

    kind = "recommender"

    def __init__(
        self, model: Any, program: Program, prepared: Prepared, split: Split, k: int, places: Mapping[str, Place]
    ):
        self.model, self.prepared, self.split, self.k = model, prepared, split, k
        self.places = PlaceQuestions(places, program, prepared)
        self.program = program = self.places.program
        self.item_ids: list[str] = prepared.items["item_id"].to_pylist()
        self.buckets = buckets_of(prepared)
        self.usual_type = untyped_event(model, split.timeline["spec"].get("target_events") or ())
        self.draw = cases_of.Draw(prepared, program)

    def write_program(self, folder: Path) -> dict[str, Any]:
        """The graph, or the arrays with the catalogue; of a graph what it takes and gives."""
        program, catalogue = self.program, np.asarray(self.split.catalogue)
        drawn: dict[str, Any] = {}
        if program.scorer == GRAPH:
            from shopkeeper.bundles.write.onnx_file import write_onnx
            from shopkeeper.bundles.write.ranking import RankingGraph

            depth = max(self.k, self.places.depth)
            graph = RankingGraph(program, catalogue, self.prepared.n_items, depth, closes=bool(self.places.places))
            drawn = write_onnx(graph, folder / "model.onnx", program.max_length)
        arrays = program.own if program.scorer == GRAPH else {**program.arrays, "catalogue": catalogue}
        if arrays is not None:
            with open(folder / "arrays.npz", "wb") as f:
                np.savez(f, **arrays)  # type: ignore[arg-type]
        self.places.write(folder)
        return drawn

    def vocabulary(self) -> dict[str, Any]:
        """Every item, and which of them the model reads."""
        known = None if self.program.known is None else self.program.known[1:].astype(int).tolist()
        return {
            "item_ids": self.item_ids,
            "known": known,  # null: all
            **({} if self.buckets is None else {"query_buckets": self.buckets}),
            "columns": list(self.draw.columns),  # that are read of events, beside item, type and time
            "channels": list(self.prepared.manifest["channels"]) if "channel" in self.draw.columns else [],
        }

    def facts(self, run: MadeFrom) -> dict[str, Any]:
        """Of lists: how long, of what, without what."""
        return {
            "k": self.k,
            "filter_seen": run.filter_seen,
            "n_items": self.prepared.n_items,
            "n_catalogue": len(self.split.catalogue),
            **self.places.manifest(),
        }

    def origin(self, run: MadeFrom) -> dict[str, Any]:
        """Of what split it is."""
        split = self.split
        return {"split": split.name, "protocol": split.protocol, "target_hash": split.target_hash("test")}

    def golden(self, count: int, seed: int) -> Iterator[dict[str, Any]]:
        """Invented requests with the trained model's answers."""
        cases = self.draw.invented(self.split, count, seed, self.usual_type)
        expected = cases_of.best(cases_of.trained_scores(self.model, cases, self.split.catalogue), self.k)
        for case, listed in zip(cases, expected, strict=True):
            items = [(self._shown(i), score) for i, score in listed]
            request = {
                "history": cases_of.external(case, self.item_ids, self.draw.channels),
                "filter_seen": case.filter_seen,
                "exclude": [self.item_ids[i - 1] for i in case.exclude],
                "expected": Answer(items, None, cases_of.reason(self.program, case, items)).as_json(),
            }
            yield request if case.instant is None else request | {"as_of": write_instant(case.instant)}

    def golden_of_places(self, count: int, seed: int) -> Iterator[dict[str, Any]]:
        """The same of its placements, where it has any."""
        yield from self.places.golden(self.draw, self.split, count, seed, self.usual_type, self.k)

    def _shown(self, item: int) -> str:
        item_id = self.item_ids[item - 1]
        return item_id if self.buckets is None else as_typed(item_id)

    def compared(self, bundle: Bundle, seed: int) -> tuple[list[str], int]:
        """Where the bundle differs from the model, of requests that do not travel along, and how many these are."""
        cases = self.draw.real(self.split, REAL_CASES, seed + 1) + self.draw.random(RANDOM_CASES, seed)
        cases += self.draw.odd(
            self.split, REAL_CASES + RANDOM_CASES + ODD_CASES - len(cases), seed + 2, self.usual_type
        )
        wrong = []
        internal = {self._shown(i): i for i in range(1, len(self.item_ids) + 1)}
        for first in range(0, len(cases), 64):
            part = cases[first : first + 64]
            scores_BV = cases_of.trained_scores(self.model, part, self.split.catalogue)
            answers = cases_of.answer(bundle, part)
            wrong += cases_of.disagreements(scores_BV, answers, internal, self.k)
        more, placed = self.places.compared(bundle, self.draw, self.split, seed, self.usual_type, self.k)
        return wrong + more, len(cases) + placed
