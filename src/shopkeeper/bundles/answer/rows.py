"""A model of a table of customers in a bundle: rows as the table has them in, a probability, count or amount out.

    Bundle.load("exports/leaving").answer([{"tenure": 3, "Contract": "Month-to-month"}])

A column that a row leaves out, or that is null or blank, is not known; what the model makes of that it has learnt. An
answer says how many of a row's values are not known, a category's among them that hardly any training row had.

Shapes: n rows, F features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.answers import Answer
from shopkeeper.bundles.answer.histories import VOCABULARY, Vocabulary
from shopkeeper.bundles.answer.integrity import AGAIN, read_arrays
from shopkeeper.errors import UserError, nearest
from shopkeeper.features.table import Encoding
from shopkeeper.ids.spelling import normal_id
from shopkeeper.programs.scoring import PROBABILITY_SCORERS, calibrated


@dataclass(frozen=True)
class TableModel:
    """A model of a table that was exported, with what turns rows into features."""

    manifest: dict[str, Any]
    arrays: dict[str, np.ndarray]
    encoding: Encoding
    known: tuple[str, ...]  # columns that a row may have
    missing: frozenset[str]  # texts that stand for what is not known

    @classmethod
    def of(cls, path: Path, manifest: dict[str, Any], content: dict[str, bytes], vocabulary: Vocabulary) -> TableModel:
        """From the checked files of a bundle; a `UserError` when they do not fit together."""
        words = vocabulary.content["table"]
        encoding = Encoding.from_json(words)
        if list(encoding.names) != manifest["feature_names"]:
            raise UserError(f"{path / VOCABULARY}: its columns and the manifest's features do not fit; {AGAIN}")
        arrays = read_arrays(content["arrays.npz"])
        return cls(manifest, arrays, encoding, tuple(words["columns"]), frozenset(words["missing"]))

    def answer(self, rows: Any, seen: Counter[str]) -> list[Answer]:
        """One answer to each row.

        Raises:
            UserError: a row that is none, a column that the table had not, a number that is none.
        """
        if isinstance(rows, str | Mapping) or not isinstance(rows, Sequence):
            raise UserError('rows must be a list with one mapping per customer, e.g. [{"tenure": 3}]')
        if not rows:
            return []
        for n, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise UserError(
                    f"row {n} is {row!r:.60}; give a mapping of columns, such as {', '.join(self.known[:3])}"
                )
            if strange := [key for key in row if key not in self.known]:
                raise UserError(
                    f"row {n}: there is no column '{strange[0]!s:.60}'.{nearest(str(strange[0]), self.known)}"
                )
        columns: dict[str, np.ndarray] = {}
        for name, _ in self.encoding.numbers:
            columns[name] = np.array([self._number(row.get(name), name, n) for n, row in enumerate(rows)])
        for name, _ in self.encoding.categories:
            columns[name] = np.array([self._text(row.get(name)) for row in rows], object)
        seen["requests"] += len(rows)
        unknown = [sum(self._is_unknown(name, value) for name, value in row.items()) for row in rows]
        seen["unknown_values"] += sum(unknown)
        raw_n = PROBABILITY_SCORERS[self.manifest["scorer"]](self.encoding.features(columns), self.arrays)
        calibrator = self.manifest["calibrator"]
        raw_n = raw_n if calibrator is None else calibrated(raw_n, calibrator)
        said = zip(raw_n.tolist(), unknown, strict=True)
        return [Answer.of_customer(value, "", self.manifest["answers"], strange) for value, strange in said]

    def _is_unknown(self, name: str, value: Any) -> bool:
        """Whether nothing is known, or a category's value is none that the model has learned something about.

        Values of hardly any training row are among the latter: all of them are one value to the model.
        """
        text = self._text(value)
        return text is None or (name in self.values and text not in self.values[name])

    @cached_property
    def values(self) -> dict[str, frozenset[str]]:
        """Of each category the values that have a feature of their own."""
        return {name: frozenset(values) for name, values in self.encoding.categories}

    def _text(self, value: Any) -> str | None:
        """A category as the table's file has it; None where nothing is known."""
        text = str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)
        spelled = normal_id(text)
        if not spelled or spelled in self.missing:
            return None
        return text if isinstance(value, str) else spelled

    def _number(self, value: Any, name: str, n: int) -> float:
        text = self._text(value)
        if text is None:
            return np.nan
        try:
            return float(text)
        except ValueError:
            raise UserError(f"row {n}: {name} is {value!r:.60}, not a number; give one, or null") from None
