"""What a bundle of a customer model holds beside its program, and how it is held against the trained model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.answers import difference
from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.answer.events import write_instant
from shopkeeper.bundles.write import golden_customers as cases_of
from shopkeeper.bundles.write import golden_sessions as sessions_of
from shopkeeper.bundles.write import pairs as pairs_of
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.customers.base import Cohort
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.features.customer.declared import USUAL, Features, bound
from shopkeeper.features.customer.known import channel_names, item_categories, shop_of
from shopkeeper.features.customer.moments import YEAR
from shopkeeper.features.customer.shop import Shop, as_arrays
from shopkeeper.models.about import PROBABILITIES
from shopkeeper.programs import processes
from shopkeeper.programs.base import GRAPH, Program
from shopkeeper.programs.waits import LEVELS, WAIT_SCORERS
from shopkeeper.schema import MICROSECONDS_PER_DAY

REAL_CUSTOMERS = 1000
OF_A_WINDOW = {
    "blend",
    "hazards",
    *processes.SCORERS,
    *WAIT_SCORERS,
}  # programs that are told what is asked of which window


def exported_shop(prepared: Prepared, cohort: Cohort) -> Shop:
    """What a bundle knows of the shop: as of the days that the cohort is asked at, of the season until nothing more
    is known of it.

    Raises:
        UserError: the features read what no bundle is told.
    """
    declared, at = cohort.declared, cohort.cutoff
    if "attributes" in declared.groups:
        raise UserError(
            "features.attributes are of the users' table, of which a bundle is told nothing; train with "
            "features.attributes=null to export, or let `shopkeeper score` say the scores"
        )
    if cohort.session is not None:
        assert cohort.events.timestamp is not None
        at = np.append(at, cohort.events.timestamp[cohort.session[:, 0]])
    shop = shop_of(prepared, declared, at)
    if declared.season is None:
        return shop
    day, last = MICROSECONDS_PER_DAY, prepared.span[1] + (YEAR - declared.season.days) * MICROSECONDS_PER_DAY
    days = np.append(np.unique(at), np.arange(int(at.max()), last, day))
    return replace(
        shop, season=shop_of(prepared, Features.from_json({"season": declared.as_json()["season"]}), days).season
    )


class CustomerQuestions:
    """Customers at an instant."""

    kind = "customer"
    buckets = None  # queries are items that nobody names here

    def __init__(self, model: Any, program: Program, prepared: Prepared, cohort: Cohort):
        self.model, self.prepared, self.cohort = model, prepared, cohort
        self.program = replace(program, needs_time=True, needs_instant=True)  # features are of an instant
        if program.scorer in OF_A_WINDOW:
            asked = processes.of_window(cohort.feature_names, cohort.horizon_days, cohort.of_nothing == 1)
            self.program = replace(self.program, arrays={**program.arrays, **asked})
        self.declared: Features = USUAL  # a graph reads none
        if program.scorer != GRAPH:
            shop = exported_shop(prepared, cohort)
            self.declared = bound(cohort.declared, shop=shop)
            self.program = replace(self.program, arrays={**self.program.arrays, **as_arrays(shop)})
        self.cohort = replace(cohort, declared=self.declared)
        if cohort.subject is not None and program.scorer != GRAPH:  # a graph reads nothing of the shop
            pairs = pairs_of.pair_arrays(prepared, cohort)
            self.program = replace(self.program, arrays={**self.program.arrays, **pairs})
        self.item_ids: list[str] = prepared.items["item_id"].to_pylist()
        self.channels: list[str] = list(prepared.manifest.get("channels") or ())
        self.usual_type = cases_of.usual_type(cohort)

    def write_program(self, folder: Path) -> dict[str, Any]:
        """The graph, or the arrays, or both; of a graph alone what it takes and gives."""
        if self.program.module is not None:
            from shopkeeper.bundles.write.onnx_file import write_onnx
            from shopkeeper.bundles.write.probability import ProbabilityGraph

            graph = ProbabilityGraph(self.program, len(self.item_ids))
            drawn = write_onnx(graph, folder / "model.onnx", graph.model.network.shape.max_length)
            if self.program.scorer == GRAPH:
                return drawn
        with open(folder / "arrays.npz", "wb") as f:
            np.savez(f, **self.program.arrays)  # type: ignore[arg-type]
        return {}

    def vocabulary(self) -> dict[str, Any]:
        """What turns a client's events into the arrays that features are made of."""
        prepared = self.prepared
        read = self.cohort.session is not None or ("sessions" in self.declared.groups and self.program.scorer != GRAPH)
        session = ("session",) if read else ()
        columns = [
            n for n in ("price", "quantity", "order", "channel", *session) if getattr(prepared.events, n) is not None
        ]
        category, since = item_categories(prepared), prepared.known_since("items", "category")
        if self.program.scorer == GRAPH:  # it reads no attributes
            category = since = None
        named = category is not None or self.program.module is not None or self.cohort.subject is not None
        named = named or self.declared.reads_items
        n = 0 if category is None else len(self.item_ids) + 1
        return {
            "item_ids": self.item_ids if named else None,  # null: any id is as good as another
            "known": None,
            "columns": columns,  # of the training log; what it lacked is not read
            "channels": self.channels,
            "channel_features": len(channel_names(prepared.manifest)),
            "category": None if category is None else category[:n].tolist(),  # by place in item_ids from 1; 0: unknown
            "category_since": None if category is None or since is None else since[:n].tolist(),
        }

    def facts(self, run: MadeFrom) -> dict[str, Any]:
        """Of customers: what is said, of what, of whom, how calibrated."""
        cohort = self.cohort
        features = (
            {}
            if self.program.scorer == GRAPH
            else {
                "features": cohort.declared.as_json(),
                "features_hash": cohort.declared.hash,
                "feature_names": list(cohort.feature_names),
            }
        )
        return {
            "calibrator": self.program.calibrator,
            "answers": cohort.answers,
            **({"further": dict(self.program.further)} if self.program.further else {}),
            **({"shift": self.program.shift, "levels": list(LEVELS)} if self.program.shift else {}),
            **({"season": {**self.program.season, **self._label()}} if self.program.season else {}),
            **features,
            **({} if cohort.subject is None else {"pairs": {cohort.subject_kind: list(cohort.subjects)}}),
            "horizon_days": cohort.horizon_days,
            **(
                {}
                if cohort.session is None
                else {"session": {"after": cohort.session.shape[1], "gap_minutes": cohort.gap_minutes}}
            ),
            "active_events": list(cohort.active_events),  # who was asked about: others are blank
            "active_days": cohort.active_days,
        }

    def _label(self) -> dict[str, Any]:
        """The label of a window that holds nothing; null of means."""
        return {"of_nothing": self.cohort.of_nothing if self.cohort.answers == PROBABILITIES else None}

    def origin(self, run: MadeFrom) -> dict[str, Any]:
        """Of what windows it is."""
        return run.asked

    def golden(self, count: int, seed: int) -> Iterator[dict[str, Any]]:
        """Invented customers with what the trained model says of them."""
        people = cases_of.invented_people(self.prepared, self.cohort, count, seed)
        if self.cohort.subject is not None:
            expected = pairs_of.trained_answers(self.model, self.prepared, self.cohort, people)
        elif self.cohort.session is None:
            expected = cases_of.trained_answers(self.model, self.prepared, self.cohort, people)
        else:
            people = sessions_of.visiting(self.prepared, self.cohort, people, seed)
            expected = sessions_of.trained_answers(self.model, self.prepared, self.cohort, people)
        for person, answer in zip(people, expected, strict=True):
            history = cases_of.external(person, self.item_ids, self.channels)
            yield {"history": history, "as_of": write_instant(person.instant), "expected": answer.as_json()}

    def compared(self, bundle: Bundle, seed: int) -> tuple[list[str], int]:
        """Where the bundle differs from the model, of customers who do not travel along, and how many these are."""
        asked = cases_of.told_apart(self.cohort)
        rows = np.sort(np.random.default_rng(seed).permutation(asked)[:REAL_CUSTOMERS]).tolist()
        people = cases_of.real_people(self.cohort, rows)
        predictions = self.model.predict(self.cohort)
        histories = [cases_of.external(person, self.item_ids, self.channels) for person in people]
        answers = bundle.answer(histories, [write_instant(person.instant) for person in people])
        wrong = []
        for row, got in zip(rows, answers, strict=True):
            if names := self.cohort.subjects:
                wanted = pairs_of.answer_of(predictions, row // len(names), names)
            else:
                wanted = cases_of.answer_of(predictions, row, self.cohort.answers)
            if said := difference(got, wanted):
                wrong.append(f"a customer of the cohort: {said}")
        return wrong, len(rows)
