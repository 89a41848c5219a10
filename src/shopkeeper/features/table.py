"""What a plain table says of its customers, as numbers: declared columns in, features out, in training and in bundles.

A number stays what it is, shifted by its least value in training where that is below 0 (models take logarithms), and
is NaN where it is unknown. A category becomes a column per frequent value (1 where it holds), one for all others that
are known, and one for what is unknown. Which values are frequent, training rows alone decide; a value that they do not
hold is one of the others.

Shapes: n rows, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LEAST, MOST = 10, 50  # training rows of a value that has a column of its own, and how many values have one
OTHERS, UNKNOWN = "(others)", "(unknown)"

Columns = Mapping[str, Any]  # by name: numbers float64 (n,), NaN unknown; categories objects (n,), None unknown


@dataclass(frozen=True)
class Encoding:
    """How rows become features; made from training rows."""

    numbers: tuple[tuple[str, float], ...]  # column, what is taken off: its least value where that is below 0
    categories: tuple[tuple[str, tuple[str, ...]], ...]  # column, the values that have a feature of their own

    @classmethod
    def of(cls, columns: Columns, numbers: Sequence[str], categories: Sequence[str], rows: np.ndarray) -> Encoding:
        """From the training rows (positions) of some columns; a column that is unknown in all of them is left out."""
        kept_numbers, kept_categories = [], []
        for name in numbers:
            known = columns[name][rows]
            known = known[~np.isnan(known)]
            if len(known):
                kept_numbers.append((name, float(min(known.min(), 0.0))))
        for name in categories:
            values = [value for value in columns[name][rows] if value is not None]
            if not values:
                continue
            kinds, count = np.unique(np.array(values, str), return_counts=True)
            order = np.argsort(-count, kind="stable")[:MOST]
            frequent = kinds[order][count[order] >= min(LEAST, count.max())]
            kept_categories.append((name, tuple(sorted(map(str, frequent)))))
        return cls(tuple(kept_numbers), tuple(kept_categories))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the features, in order."""
        more = [f"{name}={value}" for name, values in self.categories for value in (*values, OTHERS, UNKNOWN)]
        return (*(name for name, _ in self.numbers), *more)

    def features(self, columns: Columns) -> np.ndarray:
        """Features float64 (n, F) of n rows."""
        found = [np.maximum(columns[name] - least, 0.0) for name, least in self.numbers]
        for name, values in self.categories:
            said = np.asarray(columns[name], object)
            unknown = np.array([value is None for value in said], bool)
            text = np.where(unknown, "", said).astype(str)
            own = [(text == value) & ~unknown for value in values]
            others = ~unknown & ~np.any(own, axis=0)
            found += [mask.astype(np.float64) for mask in (*own, others, unknown)]
        return np.stack(found, axis=1) if found else np.zeros((0, 0))

    def as_json(self) -> dict[str, Any]:
        """As a bundle keeps it."""
        return {
            "numbers": [list(pair) for pair in self.numbers],
            "categories": [[name, list(values)] for name, values in self.categories],
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Encoding:
        """What `as_json` gave."""
        numbers = tuple((str(name), float(least)) for name, least in said["numbers"])
        return cls(numbers, tuple((str(name), tuple(map(str, values))) for name, values in said["categories"]))
