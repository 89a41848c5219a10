"""The one of several models that ranks validation best: what a shop begins with that has not compared any yet.

Each candidate is fitted on the training rows with the settings that it is given, and asked every validation request;
the highest mean NDCG@k wins, the earlier one where two are equal. Test is not looked at. A candidate that the data are
too large for is left out, with a warning. `tune model=auto` searches
the candidates' own spaces within one budget instead.

Shapes: B requests, V = n_items + 1 columns.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import TooManyItemsError, UserError, check_kinds
from shopkeeper.models.about import LISTS, REQUESTS, SCORES, About, Learned
from shopkeeper.models.fit import Fit
from shopkeeper.models.make import make
from shopkeeper.programs.base import Program
from shopkeeper.recommenders.arrays import load_arrays, save_arrays
from shopkeeper.recommenders.combined.validated import mean_ndcg
from shopkeeper.shapes import Yaml

log = logging.getLogger(__name__)


class Auto:
    """Fits every candidate and keeps the best.

    Args:
        candidates: settings of each candidate model (as its own YAML has them), by name; null leaves one out.
    """

    def __init__(self, candidates: Mapping[str, Yaml]) -> None:
        self.settings: dict[str, dict[str, Any]] = {}
        self.abouts: dict[str, About] = {}  # what each candidate says that it is
        for name, settings in candidates.items():
            try:
                check_kinds({"it": settings}, {"it": (dict, type(None))})
                about = make(settings).about if settings else None
            except UserError as e:
                raise UserError(f"mend model.candidates.{name}: {e}") from None
            if about is None:
                continue
            if about.asks != REQUESTS or about.answers == LISTS:
                raise UserError(
                    f"auto: candidate '{name}' answers with {about.answers}; choose models that score items"
                )
            self.settings[name], self.abouts[name] = dict(settings), about
        if not self.settings:
            raise UserError("auto: there is no candidate model; name one in model.candidates")
        self.chosen = ""
        self.found: dict[str, float] = {}  # mean on validation by candidate
        self.model: Any = None

    @property
    def about(self) -> About:
        """That of the chosen model, which answers with scores here; before a choice, what any candidate needs."""
        if self.model is not None:
            return replace(self.model.about, answers=SCORES, resumes=self._resumes(), starts_warm=False, reaches=False)
        needs = dict.fromkeys(need for about in self.abouts.values() for need in about.needs)
        return About(needs=tuple(needs), resumes=self._resumes())

    def _resumes(self) -> bool:
        return any(about.resumes for about in self.abouts.values())

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> Learned:
        """Fit every candidate; where validation has chosen before (`fit.chosen`), that one alone.

        With `trainer.validation_requests=0` nothing is validated, and the first candidate answers.
        """
        self.found = {}
        told = fit.chosen or (next(iter(self.settings)) if fit.trainer.validation_requests == 0 else "")
        if told:
            self.chosen, _, within = told.partition("/")
            self.model, learned = self._fitted(self.chosen, prepared, split, replace(fit, chosen=within))
            return self._told(learned)
        requests, _ = split.part("validation")
        if not len(requests) and len(self.settings) > 1:
            raise UserError(
                f"auto: {split.name} has no validation requests to choose by; give the split some, or name a model"
            )
        best, learned, refused = -np.inf, Learned(), None
        for n, name in enumerate(self.settings, start=1):
            try:
                model, its = self._fitted(name, prepared, split, fit)
            except TooManyItemsError as e:
                log.warning("auto: goes on without its candidate '%s' (%s)", name, e)
                refused = e
                continue
            value = mean_ndcg(model, split, fit) if len(self.settings) > 1 else 0.0
            self.found[name] = value
            log.info("auto: %s has NDCG@%d %.4f on validation", name, fit.k, value)
            fit.log({f"ndcg@{fit.k}": max(value, best)}, n)
            if value > best:
                best, learned, self.model, self.chosen = value, its, model, name
        if self.model is None and refused is not None:
            raise refused
        log.info("auto: %s is the one to hand over", self.chosen)
        return self._told(learned)

    def _told(self, learned: Learned) -> Learned:
        """What the chosen model learned, with the choice: `<candidate>`, or `<candidate>/<what that chose>`."""
        return replace(learned, chosen=f"{self.chosen}/{learned.chosen}" if learned.chosen else self.chosen)

    def _fitted(self, name: str, prepared: Prepared, split: Split, fit: Fit) -> tuple[Any, Learned]:
        model = make(self.settings[name])
        folder = None if fit.folder is None else fit.folder / name
        if folder is not None and model.about.resumes:
            folder.mkdir(parents=True, exist_ok=True)
        own = replace(fit, folder=folder, init_from=None, log=lambda metrics, step: None)
        return model, model.fit(prepared, split, own) or Learned()

    def score(self, requests: Requests) -> np.ndarray:
        """The chosen model's scores: float32 (B, V)."""
        scores: np.ndarray = self.model.score(requests)
        return scores

    def program(self, timed: bool) -> Program:
        """The chosen model's."""
        program: Program = self.model.program(timed)
        return program

    def save(self, folder: Path) -> None:
        """Write which one was chosen, and by what, as `weights.npz`, and the model into `chosen/`."""
        names = np.array(list(self.found) or [self.chosen])
        values = np.array([self.found.get(name, np.nan) for name in names.tolist()])
        save_arrays(folder, "auto", {"chosen": np.array(self.chosen), "names": names, "values": values})
        self.model.save(folder / "chosen")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        a = load_arrays(folder, "auto", ("chosen", "names", "values"))
        self.chosen = str(a["chosen"])
        if self.chosen not in self.settings:
            raise UserError(f"{folder} holds a model '{self.chosen}' that is not among model.candidates; train again")
        self.found = dict(zip(a["names"].tolist(), a["values"].tolist(), strict=True))
        self.model = make(self.settings[self.chosen])
        self.model.load(Path(folder) / "chosen")
