"""What a bundle of a model of a table holds beside its program, and how it is held against the trained model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.answers import Answer, difference
from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.write.customers import REAL_CUSTOMERS
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.customers.base import Cohort
from shopkeeper.customers.build_table import as_row, columns_of
from shopkeeper.data.prepared import Prepared
from shopkeeper.ids.spelling import normal_id
from shopkeeper.programs.base import Program

STRANGE = "a value of nobody's"
UNKNOWN_SHARE = 0.05  # of an invented customer's columns are not said


class TableQuestions:
    """Rows of a table of customers."""

    kind = "table"
    buckets = None
    usual_type = "view"  # a table has no events; manifests name one all the same

    def __init__(self, model: Any, program: Program, prepared: Prepared, cohort: Cohort):
        assert cohort.encoding is not None
        self.model, self.program, self.prepared, self.cohort = model, program, prepared, cohort
        self.encoding = cohort.encoding
        self.columns = columns_of(prepared.users)

    def write_program(self, folder: Path) -> dict[str, Any]:
        """The arrays."""
        with open(folder / "arrays.npz", "wb") as f:
            np.savez(f, **self.program.arrays)  # type: ignore[arg-type]
        return {}

    def vocabulary(self) -> dict[str, Any]:
        """What turns a client's row into features."""
        missing = (self.prepared.manifest["config"].get("table") or {}).get("missing") or ()
        words = {**self.encoding.as_json(), "columns": list(self.columns), "missing": sorted(map(normal_id, missing))}
        return {"item_ids": None, "known": None, "columns": [], "channels": [], "table": words}

    def facts(self, run: MadeFrom) -> dict[str, Any]:
        """What is said, from which features, how calibrated."""
        names = list(self.encoding.names)
        return {"calibrator": self.program.calibrator, "answers": self.cohort.answers, "feature_names": names}

    def origin(self, run: MadeFrom) -> dict[str, Any]:
        """Of what customers it is."""
        return run.asked

    def golden(self, count: int, seed: int) -> Iterator[dict[str, Any]]:
        """Invented customers, each column drawn on its own, with what the trained model says of them."""
        rng = np.random.default_rng(seed)
        invented: dict[str, Any] = {}
        for number, (name, values) in enumerate(self.columns.items()):
            drawn = values[rng.integers(0, len(values), count)].copy()
            drawn[rng.random(count) < UNKNOWN_SHARE] = None if drawn.dtype == object else np.nan
            if drawn.dtype == object:
                drawn[number % count :: 3 * len(self.columns)] = STRANGE
            invented[name] = drawn
        for row, answer in enumerate(self._said(invented, count)):
            yield {"history": as_row(invented, row), "expected": answer.as_json()}

    def compared(self, bundle: Bundle, seed: int) -> tuple[list[str], int]:
        """Where the bundle differs from the model, of customers who do not travel along, and how many these are."""
        chosen = np.sort(np.random.default_rng(seed).permutation(self.cohort.customer - 1)[:REAL_CUSTOMERS])
        rows = {name: values[chosen] for name, values in self.columns.items()}
        asked: list[Any] = [as_row(rows, n) for n in range(len(chosen))]
        answers = bundle.answer(asked)
        wanted = self._said(rows, len(chosen))
        wrong = [f"a customer of the table: {said}" for got, right in zip(answers, wanted, strict=True)
                 if (said := difference(got, right))]  # fmt: skip
        return wrong, len(chosen)

    def _said(self, columns: Mapping[str, Any], n: int) -> list[Answer]:
        """What the trained model says of n customers."""
        someone = np.zeros(n, np.int64)
        asked = replace(
            self.cohort, customer=someone.astype(np.int32) + 1, cutoff=someone, observed_until=someone, label=None,
            features=self.encoding.features(columns), start=someone, end=someone + 1,
        )  # fmt: skip
        found = self.model.predict(asked)
        return [Answer.of_customer(value, "", self.cohort.answers) for value in found.value.tolist()]
