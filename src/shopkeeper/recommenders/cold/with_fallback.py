"""A model, and another one that answers where the first has nothing to go by: visitors without a history.

Shapes: B requests, V = n_items + 1 columns.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.models.about import LISTS, REQUESTS, SCORES, About, Learned
from shopkeeper.models.fit import Fit
from shopkeeper.models.make import make
from shopkeeper.programs.base import GRAPH, Exportable, Program
from shopkeeper.programs.visitors import either
from shopkeeper.recommenders.arrays import load_arrays, save_arrays
from shopkeeper.schema import event_codes
from shopkeeper.shapes import Yaml

PARTS = ("first", "otherwise")


class WithFallback:
    """Args:
    first: settings of the model that is asked where a request has an event that it counts (as in its own YAML).
    otherwise: of the one that is asked where there is none.
    """

    def __init__(self, first: Yaml, otherwise: Yaml) -> None:
        self.settings = {"first": dict(first), "otherwise": dict(otherwise)}
        self.models = {name: make(settings) for name, settings in self.settings.items()}
        for name, model in self.models.items():
            if model.about.asks != REQUESTS or model.about.answers == LISTS:
                raise UserError(f"model.{name} answers with {model.about.answers}; choose a model that scores items")

    @property
    def about(self) -> About:
        """What either reads; which events count, the first one says."""
        one, two = (self.models[name].about for name in PARTS)
        both = dict.fromkeys((*one.reads, *two.reads, *(("event_type",) if one.types is not None else ())))
        types = None if one.types is None or (two.reads and two.types != one.types) else one.types
        return replace(
            one,
            answers=SCORES,
            reads=tuple(both),
            types=types,
            needs=tuple(dict.fromkeys((*one.needs, *two.needs))),
            reads_instant=one.reads_instant or two.reads_instant,
            starts_warm=False,
            reaches=False,
            not_exported=one.not_exported or two.not_exported,
        )

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> Learned:
        """Fit both; validation chooses the steps of the first."""
        if fit.folder is not None and self.models["first"].about.resumes:
            (fit.folder / "first").mkdir(parents=True, exist_ok=True)
        self.models["otherwise"].fit(prepared, split, replace(fit, folder=None, steps=None, init_from=None))
        own = replace(fit, folder=None if fit.folder is None else fit.folder / "first", init_from=None)
        return self.models["first"].fit(prepared, split, own) or Learned()

    def score(self, requests: Requests) -> np.ndarray:
        """The first model's scores, or the other's: float32 (B, V)."""
        return either(requests, self._types(), *(self.models[name].score for name in PARTS))

    def _types(self) -> list[int] | None:
        types = self.models["first"].about.types
        return None if types is None else event_codes(types)

    def program(self, timed: bool) -> Program:
        """Both programs, where both are arrays."""
        parts = []
        for name in PARTS:
            model = self.models[name]
            part = model.program(timed) if isinstance(model, Exportable) else None
            if part is None or part.scorer == GRAPH:
                raise UserError(
                    f"with_fallback: model.{name} is no program of arrays, as a bundle of two must be; "
                    f"export it alone, or choose another"
                )
            parts.append(part)
        arrays = {"scorers": np.array([part.scorer for part in parts])}
        if (types := self._types()) is not None:
            arrays["types"] = np.array(types, np.int8)
        for n, part in enumerate(parts):
            arrays |= {f"{n}/{key}": values for key, values in part.arrays.items()}
        return Program(
            "with_fallback",
            arrays,
            needs_time=any(part.needs_time for part in parts),
            needs_instant=any(part.needs_instant for part in parts),
            columns=tuple(dict.fromkeys(column for part in parts for column in part.columns)),
            people=max(part.people for part in parts),
        )

    def save(self, folder: Path) -> None:
        """Write each model into a folder of its own, and `weights.npz`, which names them."""
        save_arrays(folder, "with_fallback", {"parts": np.array(PARTS)})
        for name, model in self.models.items():
            model.save(folder / name)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        load_arrays(folder, "with_fallback", ("parts",))
        for name, model in self.models.items():
            model.load(Path(folder) / name)
