r"""Several customer models as one: how much each counts is learnt on answers to customers whom it was not fitted on.

Where there is a later cohort, members are fitted on the training cutoffs and weighed on that cohort; else both are done
on the training cutoffs, cross-fitted over customers, and no cohort is spent. Probabilities are mixed as

$$\mathrm{logit}\, p = c + \sum_k w_k \,\mathrm{logit}\, p_k, \quad w_k \ge 0$$

by log loss, counts and amounts as $e^c \sum_k w_k m_k$ with weights that add up to 1, by Poisson or Tweedie deviance;
equal weights cost nothing, all others a little. Amounts are then drawn apart, $f m^g$: the power with which the mean
absolute error is least, the factor with which the sum stays as it is, so that those who hardly buy are told what most
of them do without a loss of the total, as far as Poisson deviance is not surely lost. On the same answers intervals are
learnt (`correction/conformal.py`): they hold nearly what they promise, not exactly, since the weights were learnt on
these rows, too. What is said of a window follows the shop's season (`programs/season.py`) where validation bears that
out. The blend is blank where a member is, so a member that is blank for more than a tenth of the rows which others
answer is left out. One may be a network, trained anew for each fold. A bundle runs each member's program, that of one
network as a graph; intervals `score` alone says.
D. Wolpert, Stacked generalization, Neural Networks 5 (1992); L. Breiman, Stacked regressions, Machine Learning 24
(1996), for weights that are not negative.

Shapes: n rows, K members.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.correction.conformal import Conformal, conformal_from, fit_conformal
from shopkeeper.customers.correction.season import borne_out, season_of
from shopkeeper.customers.folds import folds_by_customer, rows_of
from shopkeeper.customers.state import labels_of, read_state, with_blanks, write_state
from shopkeeper.customers.weighing import drawn_apart, weigh
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError, check, check_kinds, one_of, whole
from shopkeeper.models.about import AMOUNTS, COUNTS, CUSTOMERS, PROBABILITIES, About, Learned
from shopkeeper.models.fit import Fit
from shopkeeper.models.make import make
from shopkeeper.programs.base import GRAPH, Exportable, Program
from shopkeeper.programs.scoring import mixed
from shopkeeper.programs.season import Season, season_from
from shopkeeper.shapes import Yaml

log = logging.getLogger(__name__)

KEYS = ("members", "weight", "offset", "power", "factor", "year", "spread", "answers", "untrainable")
MIXED = (PROBABILITIES, COUNTS, AMOUNTS)
AUTO, WITH, WITHOUT = "auto", "with season", "without season"
SILENT = 0.1  # share of the rows answered by others for which a member may be blank


class Blend:
    """Members by name, each as its own YAML has it; those that do not answer what is asked are left out.

    Args:
        members: settings of each model; null leaves one out.
        folds: of customers, where there is no later cohort.
        season: whether answers are carried to what the window asked about is going to bring to the shop; auto: where
            that is surely better on validation (`choose`), and not before validation has been asked.
    """

    def __init__(self, members: Mapping[str, Yaml | None], folds: int = 5, season: bool | str = AUTO) -> None:
        told = {"folds": folds, "season": season}
        check(told, {"folds": whole(2), "season": one_of("auto", True, False)}, "model.")
        self.settings: dict[str, dict[str, Any]] = {}
        self.abouts: dict[str, About] = {}  # what each member says that it is
        for name, settings in members.items():
            try:
                check_kinds({"it": settings}, {"it": (dict, type(None))})
                about = make(settings).about if settings else None
            except UserError as e:
                raise UserError(f"mend model.members.{name}: {e}") from None
            if about is None:
                continue
            if about.asks != CUSTOMERS or about.oracle:
                raise UserError(f"blend: member '{name}' must be a customer model that can be trained; choose another")
            if not {about.answers, *about.also} & set(MIXED):
                raise UserError(
                    f"blend: member '{name}' answers with {about.answers}, which are not mixed; leave it out"
                )
            self.settings[name], self.abouts[name] = dict(settings or {}), about
        if not self.settings:
            raise UserError("blend: there is no member; name one in model.members")
        self.folds, self.season = folds, season
        self.prepared: Prepared | None = None
        self.members: dict[str, Any] = {}
        self.weight = np.zeros(0)
        self.offset = 0.0
        self.power, self.factor = 1.0, 1.0  # of amounts
        self.spread: Conformal | None = None  # of counts and amounts
        self.year: Season | None = None
        self.carries = season is True
        self.answers = PROBABILITIES
        self.untrainable = "not fitted"

    @property
    def about(self) -> About:
        """What any member answers with and needs."""
        found = list(self.abouts.values())
        answers = [kind for kind in MIXED if any(kind in (a.answers, *a.also) for a in found)]
        return About(
            answers=answers[0],
            also=tuple(answers[1:]),
            reads=tuple(dict.fromkeys(column for a in found for column in a.reads)),
            needs=tuple(dict.fromkeys(need for a in found for need in a.needs)),
            chooses=self.season == AUTO,
            reads_instant=self.season is not False or any(a.reads_instant for a in found),
        )

    def bind(self, prepared: Prepared) -> None:
        """For members that need it."""
        self.prepared = prepared

    def fit(self, train: Cohort, calibration: Cohort | None, fit: Fit) -> Learned:
        """Fit the members, and weigh them; whether answers are carried, `Fit.chosen` or `choose` says of `auto`."""
        learned = Learned(chosen=fit.chosen if self.season == AUTO else "")
        self.carries = self.season is True or learned.chosen == WITH
        self.answers, self.members, self.untrainable, self.spread = train.answers, {}, "", None
        # A network's begins anew after a kill; what is held out are the blend's answers: none is calibrated on them
        fit = replace(fit, folder=None, held_out=None, chosen="", progress=False, log=lambda *_: None)
        names = [name for name, a in self.abouts.items() if train.answers in (a.answers, *a.also)]
        for name in names:
            model = self._fitted(name, train, fit)
            if model.untrainable:
                self.untrainable = f"{name}: {model.untrainable}"
                return learned
            self.members[name] = model
        if calibration is not None:
            judge, said_nK = calibration, self._said(self.members, calibration)
        else:
            judge, said_nK = train, np.empty((len(train), len(names)))
            for some, others in folds_by_customer(train.customer, fit.seed, self.folds):
                rows = rows_of(train, some)
                fold = {name: self._fitted(name, rows, fit) for name in names if not self._same(name, train, rows)}
                fold = {name: fold.get(name, self.members[name]) for name in names}
                if blank := [name for name, model in fold.items() if model.untrainable]:
                    self.untrainable = f"{blank[0]}: too few rows for {self.folds} folds of customers"
                    return learned
                said_nK[others] = self._said(fold, rows_of(train, others))
        said_nK = self._heard(said_nK)
        known = ~np.isnan(said_nK).any(axis=1)
        if not known.any():
            self.untrainable = f"{next(iter(self.members))}: blank for every customer"
            return learned
        label, customer = labels_of(judge)[known], judge.customer[known]
        self.weight, self.offset = weigh(said_nK[known], label, self.answers)
        self.power, self.factor = 1.0, 1.0
        if self.answers == AMOUNTS:
            self.power, self.factor = drawn_apart(self._mixed(said_nK[known]), label, customer)
        self.year = season_of(judge) if self.season else None
        if self.answers != PROBABILITIES:
            self.spread = fit_conformal(self._mixed(said_nK[known]), label, self.answers == COUNTS)
        return learned

    def choose(self, cohort: Cohort) -> Learned:
        """Carry answers from here on where those to a later, labelled cohort are surely better carried."""
        if self.untrainable or self.year is None:
            self.carries = False
            return Learned(chosen=WITHOUT)
        self.carries = False
        as_said = self.predict(cohort).value
        self.carries = True
        self.carries, plain, carried = borne_out(cohort, as_said, self.predict(cohort).value)
        loss = "log_loss" if self.answers == PROBABILITIES else "poisson_deviance"
        figures = {f"{loss}_{WITH.replace(' ', '_')}": carried, f"{loss}_{WITHOUT.replace(' ', '_')}": plain}
        return Learned(chosen=WITH if self.carries else WITHOUT, settings=figures)

    def predict(self, cohort: Cohort) -> Predictions:
        """The weighed answers; blank where a member's is."""
        if self.untrainable:
            return with_blanks(cohort, np.full(len(cohort), np.nan), self.untrainable)
        said = [model.predict(cohort) for model in self.members.values()]
        value = self._mixed(np.stack([one.value for one in said], axis=1))
        found = with_blanks(cohort, self._carried(value, cohort))
        for one in said:  # where members say nothing, the first of them says why
            own = [why for why in (found.blank_reason, one.blank_reason) if why is not None]
            found = replace(found, blank_reason=np.where(own[0] == "", own[-1], own[0]))
        if self.spread is None:
            return found
        low, high = (self._carried(bound, cohort) for bound in self.spread.interval(value))
        if self.answers == COUNTS:
            low, high = np.floor(low), np.ceil(high)
        blank = np.isnan(found.value)
        return replace(found, low=np.where(blank, np.nan, low), high=np.where(blank, np.nan, high))

    def program(self, timed: bool) -> Program:
        """Each member's program, all weights, and the shop's year; of one network its graph, whose answers the blend
        reads beside its arrays (`said`). A `UserError` where a member has no program, or two have a graph."""
        arrays: dict[str, np.ndarray] = {
            "weight": self.weight,
            "probabilities": np.array([self.answers == PROBABILITIES]),
            **{
                name: np.array([value])
                for name, value in (("offset", self.offset), ("power", self.power), ("factor", self.factor))
            },
        }
        parts: list[Program] = []
        for k, (name, model) in enumerate(self.members.items()):
            part = model.program(timed) if isinstance(model, Exportable) else None
            if part is None or (part.scorer == GRAPH and any(one.scorer == GRAPH for one in parts)):
                why = "has no program" if part is None else "is a second network"
                raise UserError(
                    f"blend: member '{name}' {why}, and a bundle is made of programs of arrays and one network; set "
                    f"model.members.{name}=null and train again, or use `shopkeeper score`"
                )
            parts.append(part)
            arrays |= {f"{k}/{key}": values for key, values in part.arrays.items()}
            if part.scorer == GRAPH:
                arrays[f"{k}/max_length"] = np.array([part.max_length])
        arrays["scorers"] = np.array([part.scorer for part in parts])
        arrays["calibrators"] = np.array([json.dumps(part.calibrator) for part in parts])
        year = self._year()
        for part in parts:
            if part.scorer == GRAPH:
                told = {"module": part.module, "inputs": part.inputs, "known": part.known}
                return Program("blend", arrays, season=year, **told)
        return Program("blend", arrays, season=year)

    def save(self, folder: Path) -> None:
        """Write `model.json`, and each member into `members/<name>/`."""
        state = {
            "members": list(self.members),
            "weight": self.weight.tolist(),
            "offset": self.offset,
            "power": self.power,
            "factor": self.factor,
            "year": self._year(),
            "spread": None if self.spread is None else self.spread.as_json(),
            "answers": self.answers,
            "untrainable": self.untrainable,
        }
        write_state(folder, "blend", state)
        for name, model in self.members.items():
            model.save(folder / "members" / name)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        state = read_state(folder, "blend", KEYS)
        self.weight, self.offset = np.array(state["weight"], np.float64), float(state["offset"])
        self.power, self.factor = float(state["power"]), float(state["factor"])
        self.year = None if state["year"] is None else season_from(state["year"])
        self.carries = self.year is not None
        self.spread = None if state["spread"] is None else conformal_from(state["spread"])
        self.answers, self.untrainable = str(state["answers"]), str(state["untrainable"])
        self.members = {}
        for name in state["members"]:
            if name not in self.settings:
                raise UserError(f"{folder} holds a member '{name}' that is not among model.members; train again")
            self.members[name] = make(self.settings[name])
            self.members[name].load(folder / "members" / name)

    def _heard(self, said_nK: np.ndarray) -> np.ndarray:
        """Answers of the members that stay; which is silent about most rows that others answer is left out first."""
        while said_nK.shape[1] > 1:
            answered_nK = ~np.isnan(said_nK)
            others_nK = answered_nK.sum(axis=1, keepdims=True) > answered_nK
            silent_K = (others_nK & ~answered_nK).sum(axis=0) / np.maximum(others_nK.sum(axis=0), 1)
            k = int(np.argmax(silent_K))
            if silent_K[k] <= SILENT:
                break
            name = list(self.members)[k]
            why = "blend: goes on without its member '%s', which is blank for %d %% of the rows that others answer"
            log.warning(why, name, round(100 * silent_K[k]))
            del self.members[name]
            said_nK = np.delete(said_nK, k, axis=1)
        return said_nK

    def _same(self, name: str, train: Cohort, rows: Cohort) -> bool:
        """Whether a member fitted on some of the rows is the one fitted on all: it reads the log until both end."""
        return not self.members[name].about.labelled and bool(rows.cutoff.max() == train.cutoff.max())

    def _fitted(self, name: str, train: Cohort, fit: Fit) -> Any:
        model = make(self.settings[name])
        if "dataset" in model.about.needs:
            model.bind(self.prepared)
        model.fit(train, None, fit)
        return model

    def _year(self) -> dict[str, Any] | None:
        return self.year.as_json() if self.year is not None and self.carries else None

    def _carried(self, value: np.ndarray, cohort: Cohort) -> np.ndarray:
        if self.year is None or not self.carries:
            return value
        nothing = cohort.of_nothing if cohort.answers == PROBABILITIES else None
        return self.year.carried(value, cohort.cutoff, cohort.horizon_days, nothing)

    def _mixed(self, said_nK: np.ndarray) -> np.ndarray:
        return mixed(said_nK, self.weight, self.answers == PROBABILITIES, self.offset, self.power, self.factor)

    def _said(self, members: Mapping[str, Any], cohort: Cohort) -> np.ndarray:
        return np.stack([model.predict(cohort).value for model in members.values()], axis=1)
