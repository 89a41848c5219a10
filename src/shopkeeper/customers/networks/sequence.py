"""A sequence network as a customer model: what all of these share, so that a model is its network and a few lines.

    class GRU(SequenceCustomerModel):
        format, network_class, shape_class = "shopkeeper.gru/1", GRUNetwork, GRU4RecShape

Its settings are the fields of the shape (without `n_items` and `n_types`, which the data say), those of
`training.config.Recipe`, and those of `SequenceCustomerModel`. It reads all that a customer did before the cutoff, is
trained by `training/` with a head for each task, and calibrated as every customer model is.

When to stop is judged on a share of the training customers, at the training cutoffs: neither the calibration cohort nor
what is tested is looked at.

Shapes: n rows (customer, cutoff), M rows of the log that are read, V numbers of items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.correction.calibration import SMOOTH, Calibrator, choose_calibrator, fit_scale, uncalibrated
from shopkeeper.customers.networks.encoder import Encoder, Start
from shopkeeper.customers.networks.pairs import OFTEN, Calibrated, of_customers, said_of_pairs
from shopkeeper.customers.networks.questions import gathered, numbered
from shopkeeper.customers.state import labels_of, read_state, why_untrainable, with_blanks, write_state
from shopkeeper.customers.waits import days as waiting
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError, check, number, one_of, or_null, whole
from shopkeeper.models.about import AMOUNTS, COUNTS, DAYS, PROBABILITIES, About, Learned
from shopkeeper.models.fit import Fit
from shopkeeper.nn.heads import PERIODS, Heads, ended, expected
from shopkeeper.nn.network import COLUMNS, SequenceNetwork
from shopkeeper.programs.base import GRAPH, Program
from shopkeeper.schema import EVENT_TYPES
from shopkeeper.training.objectives.customer_heads import CustomerHeads, Questions
from shopkeeper.training.sequence_model import PlainForm, SequenceModel

ASKED = "label"  # the head of what a cohort is labelled with
AUTO, EVENTS, BASKETS = "auto", "events", "baskets"  # what is read one after another


class SequenceCustomerModel(SequenceModel):
    """Probabilities, counts, amounts or waits from the network's vector of a customer's last event, and the days since.

    With a head for what is asked, and one for each further task that the cohort has labels of (`Cohort.further`), all
    of which are learned at once.

    Args:
        held_out: share of the training customers on whom the epoch is chosen; 0: all epochs are trained, on all.
        rare: items with fewer training events are all one to it, as are those that come later; None: all items are.
        steps: what is read one after another: `events`, or `baskets` (`questions.py`), told by amount and lines and not
            by item; `auto`: baskets, unless items are told apart, sessions asked about or a recommender started from.
        min_positives: rows of each class needed, or waits that end in their window, else every score is blank.
    """

    encoder: ClassVar[Encoder | None] = None  # a recommender's network that it may start from
    of_histories: ClassVar[bool] = True  # whether events are read, several subjects of a customer at once

    def __init__(
        self,
        held_out: float = 0.1,
        rare: int | None = None,
        min_positives: int = 20,
        steps: str = AUTO,
        **settings: Any,
    ):
        if type(self) is SequenceCustomerModel:
            raise UserError(f"{type(self).__name__} is what models are made from; choose one of conf/model/*.yaml")
        own = {"held_out": held_out, "rare": rare, "min_positives": min_positives, "steps": steps}
        super().__init__(own, settings)
        rules = {"held_out": number(below=1), "rare": or_null(whole(1)), "min_positives": whole(1)}
        check(own, rules | {"steps": one_of(AUTO, EVENTS, BASKETS)}, "model.")
        self.held_out, self.rare, self.min_positives, self.steps_read = held_out, rare, min_positives, steps
        self.known_V = np.zeros(0, bool)
        self.heads: tuple[str, ...] = (ASKED,)
        self.kinds: tuple[str, ...] = (PROBABILITIES,)
        self.of_pairs = False  # heads are of categories or items
        self.feature_names: tuple[str, ...] = ()  # of one that reads features
        self.unit: tuple[float, ...] = (1.0,)  # of labels: amounts are learned in usual ones, waits in windows
        self.calibrators: tuple[Calibrator, ...] = (Calibrator(),)
        self.shift = waiting.Shift()  # of the quantiles of waits
        self.untrainable = "not fitted"
        self.prepared: Prepared | None = None

    @property
    def about(self) -> About:
        """Every network is told types and times; the rest is what it asks for, or may, before it is made."""
        may = () if self.steps_read == EVENTS or not self.can("baskets") else ("amount", "lines")
        asked = may if self.network is None else self.network.reads
        return About(
            answers=PROBABILITIES,
            also=(COUNTS, AMOUNTS, DAYS),
            pairs=True,
            sessions=True,
            further=True,
            reads=tuple(dict.fromkeys(("event_type", "timestamp", *(COLUMNS[name] for name in asked)))),
            resumes=True,
            needs=() if self.encoder is None else ("dataset",),
            starts_from=() if self.encoder is None else (self.encoder.target,),
        )

    def bind(self, prepared: Prepared) -> None:
        """The log whose items a run that is started from names by their external ids."""
        self.prepared = prepared

    def fit(self, train: Cohort, calibration: Cohort | None, fit: Fit) -> Learned:
        """Fit on `train`, choose and fit the calibration on `calibration`."""
        from shopkeeper.training.fit import train as train_network  # Lightning: who only answers does without it

        label, self.of_pairs = labels_of(train), self.of_histories and train.subject is not None
        if self.of_histories:
            train, calibration = of_customers(train), None if calibration is None else of_customers(calibration)
        self.network, self.trained = None, None
        self.heads, self.kinds = (ASKED, *train.further), (train.answers, *(f.answers for f in train.further.values()))
        self.calibrators = tuple(uncalibrated(kind) for kind in self.kinds)
        self.shift = waiting.Shift()
        if train.answers == DAYS:
            self.untrainable = waiting.why_untrainable(train, self.min_positives)
        else:
            self.untrainable = why_untrainable(label, self.min_positives, train.answers)
        if self.untrainable:
            return Learned()
        network, start = self._begun(train, fit)
        share = 0.0 if fit.steps or not fit.trainer.validation_requests else self.held_out
        labels_nH = labels_of_heads(train)
        self.unit = tuple(
            usual(label_n) if kind == AMOUNTS else train.horizon_days if kind == DAYS else 1.0
            for kind, label_n in zip(self.kinds, labels_nH.T, strict=True)
        )
        held_out = of_some_customers(train.customer, share, fit.seed)
        objective = self._objective(train, network, labels_nH / np.array(self.unit), held_out)
        objective.furnish(network)
        self.trained = train_network(
            network,
            objective,
            recipe=self.recipe,
            config=fit.limited,
            seed=fit.seed,
            identity=self.identity(network.shape) | ({} if start is None else {"init_from": start.hash}),
            folder=fit.folder,
            progress=fit.progress,
            on_epoch=fit.log,
        )
        self.network = network
        if calibration is not None:
            out_nW = self._out(calibration)
            found = zip(self.kinds, self._raw(out_nW).T, labels_of_heads(calibration).T, strict=True)
            self.calibrators = tuple(
                choose_calibrator(raw, label, calibration.customer, fit.seed, SMOOTH)
                if kind == PROBABILITIES else Calibrator() if kind == DAYS else fit_scale(raw, label)
                for kind, raw, label in found
            )  # fmt: skip
            if self.kinds[0] == DAYS:
                self.shift.learn(*self._waits(out_nW), labels_of(calibration))
        return Learned(self.steps, self.trained.plan.to_json(), self.trained.history)

    def predict(self, cohort: Cohort) -> Predictions:
        """Calibrated, of each head; of a wait also its quantiles."""
        if self.of_histories and cohort.subject is not None:
            return said_of_pairs(self.predict, cohort)
        if self.untrainable:
            said = [np.full(len(cohort), np.nan)] * len(self.heads)
        else:
            out_nW = self._out(cohort)
            said = [c(raw) for c, raw in zip(self.calibrators, self._raw(out_nW).T, strict=True)]
        value, *others = (with_blanks(cohort, one, self.untrainable) for one in said)
        if self.kinds[0] == DAYS:
            blank = self.untrainable
            value = waiting.blank(cohort, blank) if blank else self.shift.said(*self._waits(out_nW), cohort)
        further = {name: one.value for name, one in zip(self.heads[1:], others, strict=True)}
        return replace(value, further=further)

    def program(self, timed: bool) -> Program:
        """The network's plain form on left-padded histories in float32, and the calibration."""
        waits = self.kinds[0] == DAYS
        module = (
            Calibrated(self._network(), self.calibrators) if self.of_pairs else _Expected(self._network(), self.unit)
        )
        return Program(
            GRAPH,
            module=module,
            inputs=module.inputs,
            needs_time=True,
            needs_instant=True,
            max_length=module.network.shape.max_length,
            known=self.known_V,
            calibrator=None if waits or self.of_pairs else self.calibrators[0].as_json(),
            further={}
            if self.of_pairs
            else {
                name: {"answers": kind, "calibrator": calibrator.as_json()}
                for name, kind, calibrator in list(zip(self.heads, self.kinds, self.calibrators, strict=True))[1:]
            },
            of_pairs=self.of_pairs,
            shift=self.shift.as_json() if waits else None,
        )

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors` and `training.json` (unless nothing could be learned), and `model.json`."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        if not self.untrainable:
            told = {"heads": list(self.heads), "kinds": list(self.kinds), "unit": list(self.unit)}
            self.write_weights(folder, {"known": torch.from_numpy(self.known_V)}, told)
        state = {
            "heads": list(self.heads),
            "kinds": list(self.kinds),
            "of_pairs": self.of_pairs,
            "calibrators": [one.as_json() for one in self.calibrators],
            "untrainable": self.untrainable,
            **({"shift": self.shift.as_json()} if self.kinds[0] == DAYS else {}),
            **({} if self.of_histories else {"feature_names": list(self.feature_names)}),
        }
        write_state(folder, self.format, state)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        state = read_state(folder, self.format, ("untrainable",))
        earlier = [state["calibrator"]] if "calibrator" in state else []  # runs from before there were several heads
        self.heads = tuple(state.get("heads", (ASKED,)))
        self.kinds = tuple(state.get("kinds", (PROBABILITIES,)))
        self.of_pairs, self.feature_names = bool(state.get("of_pairs", False)), tuple(state.get("feature_names", ()))
        self.calibrators = tuple(Calibrator(**one) for one in state.get("calibrators", earlier))
        self.untrainable, self.shift = str(state["untrainable"]), waiting.Shift(**state.get("shift", {}))
        self.network = None
        if not self.untrainable:
            spec, tensors = self.read_weights(folder)
            network = self.network_class(self.shape_class(**spec["shape"]))
            network.heads = Heads(network.shape.width, self.kinds)
            self.unit = tuple(spec.get("unit", (1.0,)))
            self.take_weights(network, tensors)
            self.known_V = tensors["known"].numpy()

    def _begun(self, train: Cohort, fit: Fit) -> tuple[SequenceNetwork, Start | None]:
        """A new network, made for what `train` holds, and what it started from."""
        rare = OFTEN if self.rare is None and self.of_pairs else self.rare
        baskets = self._in_baskets(train, rare, fit)
        log = gathered(train, self.settings["max_length"], ("event_type", "timestamp"), baskets=baskets)
        self.known_V = np.zeros(1, bool)
        if rare is not None:
            self.known_V = np.bincount(log.item, minlength=1) >= rare
            self.known_V[0] = False  # of no item
        start = None
        if fit.init_from is not None and self.encoder is not None:
            assert self.prepared is not None, "bind comes before fit"
            start = Start.of(self.encoder, fit.init_from)
            known_V = start.knows(self.prepared)
            if rare is not None:
                known_V[: len(self.known_V)] &= self.known_V
                known_V[len(self.known_V) :] = False
            self.known_V = known_V
        typed = len(np.unique(log.columns["event_type"])) > 1
        told = {**self.settings, **({"baskets": True} if baskets else {})}
        shape = self._shape(len(self.known_V), len(EVENT_TYPES) if typed else 0, **told)
        torch.manual_seed(fit.seed)
        network = self.network_class(shape)
        if start is not None and self.prepared is not None:
            start.give(network, self.prepared, self.known_V)
        return network, start

    def _in_baskets(self, train: Cohort, rare: int | None, fit: Fit) -> bool:
        """Whether baskets are read; a `UserError` where they are asked for and cannot be."""
        why = {
            f"the shape of {type(self).__name__} has no field baskets": not self.can("baskets"),
            "a basket has no one item, and items are told apart here (model.rare, or by category or item)":
                rare is not None,
            "a recommender's encoder (init_from) has read events": fit.init_from is not None,
            "a session is asked about after an event, which may lie within a basket": train.session is not None,
        }  # fmt: skip
        if self.steps_read == BASKETS and any(why.values()):
            raise UserError(f"model.steps=baskets: {next(said for said, so in why.items() if so)}; set it to auto")
        return self.steps_read != EVENTS and not any(why.values())

    def _objective(
        self, train: Cohort, network: SequenceNetwork, label_nH: np.ndarray, held_out: np.ndarray
    ) -> CustomerHeads:
        """What is learned of the rows, in units of the labels."""
        return CustomerHeads(self.heads, self._questions(train, network.reads, label_nH), held_out, self.kinds)

    def _questions(self, cohort: Cohort, reads: Sequence[str], label: np.ndarray | None = None) -> Questions:
        """A cohort as it is put to the network."""
        names = dict.fromkeys(("timestamp", *(COLUMNS[name] for name in reads)))
        found = gathered(cohort, self.settings["max_length"], tuple(names), label, baskets="lines" in reads)
        return numbered(found, self.known_V)

    def _out(self, cohort: Cohort) -> torch.Tensor:
        """What all heads give, float64 (n, W)."""
        network = self._network()
        asked = self._questions(cohort, network.reads)
        vector_nD, _ = self.vectors(asked.alone(network.shape.max_length), len(cohort))
        with torch.inference_mode():
            out_nW: torch.Tensor = network.heads(vector_nD, torch.from_numpy(asked.since())).double()
        return out_nW

    def _raw(self, out_nW: torch.Tensor) -> np.ndarray:
        """What each head expects before it is calibrated, float64 (n, H)."""
        mean_nH: np.ndarray = self._network().heads.mean(out_nW).numpy()
        return mean_nH * np.array(self.unit)

    def _waits(self, out_nW: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Quantiles (n, Q) and mean (n,) of the wait that the first head is about, before they are shifted."""
        ends_K = self.unit[0] * np.arange(1, PERIODS + 1) / PERIODS
        return waiting.from_distribution(ended(self._network().heads.by_head(out_nW)[0][1]).numpy(), ends_K)


class _Expected(PlainForm):
    """Histories (B, L), padded on the left, their event types, days since the last, whatever else is read -> (B, H).

    What each head expects, in units of the labels; of waits also the logits of their hazards, (B, K).
    """

    def __init__(self, network: Any, unit: Sequence[float]):
        super().__init__(network)
        self.unit = tuple(unit)

    def forward(
        self, history_BL: torch.Tensor, event_type_BL: torch.Tensor, since_B: torch.Tensor, *others_BL: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        last_BD = self.last(history_BL, event_type_BL, others_BL)
        found = self.network.heads.by_head(self.network.heads(last_BD, since_B))
        mean = [expected(kind, out) * unit for (kind, out), unit in zip(found, self.unit, strict=True)]
        hazards = [out for kind, out in found[:1] if kind == DAYS]
        return torch.stack(mean, 1), *hazards


def labels_of_heads(cohort: Cohort) -> np.ndarray:
    """What is asked, and each further task: float64 (n, H)."""
    return np.stack([labels_of(cohort), *(one.label for one in cohort.further.values())], axis=1)


def usual(amount: np.ndarray) -> float:
    """The usual amount of those that are above 0: their geometric mean; 1 without any."""
    some = amount[amount > 0]
    return float(np.exp(np.log(some).mean())) if len(some) else 1.0


def of_some_customers(customer: np.ndarray, share: float, seed: int) -> np.ndarray:
    """bool (n,): the rows of a share of the customers, drawn at random; all rows of a customer go together."""
    people, person = np.unique(customer, return_inverse=True)
    drawn: np.ndarray = np.random.default_rng(seed).permutation(len(people)) < round(share * len(people))
    return drawn[person]
