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
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.correction.calibration import SMOOTH, Calibrator, choose_calibrator
from shopkeeper.customers.state import labels_of, read_state, why_untrainable, with_blanks, write_state
from shopkeeper.errors import UserError, check, number, or_null, whole
from shopkeeper.models.about import PROBABILITIES, About, Learned
from shopkeeper.models.fit import Fit
from shopkeeper.nn.heads import Heads
from shopkeeper.nn.network import COLUMNS
from shopkeeper.programs.base import GRAPH, Program
from shopkeeper.schema import EVENT_TYPES
from shopkeeper.training.objectives.customer_heads import CustomerHeads, Questions
from shopkeeper.training.sequence_model import PlainForm, SequenceModel

HEADS = ("label",)  # what a cohort is labelled with


class SequenceCustomerModel(SequenceModel):
    """Probabilities from the network's vector of a customer's last event, and the days since.

    Args:
        held_out: share of the training customers on whom the epoch is chosen; 0: all epochs are trained, on all.
        rare: items with fewer training events are all one to it, as are those that come later; None: all items are.
        min_positives: rows of each class needed, else every score is blank.
    """

    def __init__(self, held_out: float = 0.1, rare: int | None = None, min_positives: int = 20, **settings: Any):
        if type(self) is SequenceCustomerModel:
            raise UserError(f"{type(self).__name__} is what models are made from; choose one of conf/model/*.yaml")
        own = {"held_out": held_out, "rare": rare, "min_positives": min_positives}
        super().__init__(own, settings)
        check(own, {"held_out": number(below=1), "rare": or_null(whole(1)), "min_positives": whole(1)}, "model.")
        self.held_out, self.rare, self.min_positives = held_out, rare, min_positives
        self.known_V = np.zeros(0, bool)
        self.calibrator = Calibrator()
        self.untrainable = "not fitted"

    @property
    def about(self) -> About:
        """Every network is told types and times; the rest is what it asks for."""
        asked = () if self.network is None else self.network.reads
        return About(
            answers=PROBABILITIES,
            reads=tuple(dict.fromkeys(("event_type", "timestamp", *(COLUMNS[name] for name in asked)))),
            resumes=True,
        )

    def fit(self, train: Cohort, calibration: Cohort | None, fit: Fit) -> Learned:
        """Fit on `train`, choose and fit the calibration on `calibration`."""
        from shopkeeper.training.fit import train as train_network  # Lightning: who only answers does without it

        label = labels_of(train)
        self.calibrator, self.network, self.trained = Calibrator(), None, None
        self.untrainable = why_untrainable(label, self.min_positives)
        if self.untrainable:
            return Learned()
        length = self.settings["max_length"]
        log = gathered(train, length, ("event_type", "timestamp"))
        self.known_V = np.zeros(1, bool)
        if self.rare is not None:
            self.known_V = np.bincount(log.item, minlength=1) >= self.rare
            self.known_V[0] = False  # of no item
        typed = len(np.unique(log.columns["event_type"])) > 1
        shape = self._shape(len(self.known_V), len(EVENT_TYPES) if typed else 0, **self.settings)
        torch.manual_seed(fit.seed)
        network = self.network_class(shape)
        share = 0.0 if fit.steps or not fit.trainer.validation_requests else self.held_out
        asked = self._questions(train, network.reads, label[:, None])
        objective = CustomerHeads(HEADS, asked, of_some_customers(train.customer, share, fit.seed))
        objective.furnish(network)
        self.trained = train_network(
            network,
            objective,
            recipe=self.recipe,
            config=fit.limited,
            seed=fit.seed,
            identity=self.identity(shape),
            folder=fit.folder,
            progress=fit.progress,
            on_epoch=fit.log,
        )
        self.network = network
        if calibration is not None:
            raw, label = self._raw(calibration), labels_of(calibration)
            self.calibrator = choose_calibrator(raw, label, calibration.customer, fit.seed, SMOOTH)
        return Learned(self.steps, self.trained.plan.to_json(), self.trained.history)

    def predict(self, cohort: Cohort) -> Predictions:
        """Calibrated probabilities."""
        if self.untrainable:
            return with_blanks(cohort, np.full(len(cohort), np.nan), self.untrainable)
        return with_blanks(cohort, self.calibrator(self._raw(cohort)))

    def program(self, timed: bool) -> Program:
        """The network's plain form on left-padded histories in float32, and the calibration."""
        module = _Probabilities(self._network())
        return Program(
            GRAPH,
            module=module,
            inputs=module.inputs,
            needs_time=True,
            needs_instant=True,
            max_length=module.network.shape.max_length,
            known=self.known_V,
            calibrator=self.calibrator.as_json(),
        )

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors` and `training.json` (unless nothing could be learned), and `model.json`."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        if not self.untrainable:
            self.write_weights(folder, {"known": torch.from_numpy(self.known_V)}, {"heads": list(HEADS)})
        state = {"calibrator": self.calibrator.as_json(), "untrainable": self.untrainable}
        write_state(folder, self.format, state)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        state = read_state(folder, self.format, ("calibrator", "untrainable"))
        self.calibrator, self.untrainable = Calibrator(**state["calibrator"]), str(state["untrainable"])
        self.network = None
        if not self.untrainable:
            spec, tensors = self.read_weights(folder)
            network = self.network_class(self.shape_class(**spec["shape"]))
            network.heads = Heads(network.shape.width, len(spec["heads"]))
            self.take_weights(network, tensors)
            self.known_V = tensors["known"].numpy()

    def _questions(self, cohort: Cohort, reads: Sequence[str], label: np.ndarray | None = None) -> Questions:
        """A cohort as it is put to the network."""
        names = dict.fromkeys(("timestamp", *(COLUMNS[name] for name in reads)))
        return numbered(gathered(cohort, self.settings["max_length"], tuple(names), label), self.known_V)

    def _raw(self, cohort: Cohort) -> np.ndarray:
        """Probabilities before they are calibrated, float64 (n,)."""
        network = self._network()
        asked = self._questions(cohort, network.reads)
        vector_nD, _ = self.vectors(asked.alone(network.shape.max_length), len(cohort))
        with torch.inference_mode():
            logits_nH = network.heads(vector_nD, torch.from_numpy(asked.since()))
        p: np.ndarray = logits_nH[:, 0].double().sigmoid().numpy()
        return p


class _Probabilities(PlainForm):
    """Histories (B, L), padded on the left, their event types, days since the last, whatever else is read -> (B, H)."""

    def forward(
        self, history_BL: torch.Tensor, event_type_BL: torch.Tensor, since_B: torch.Tensor, *others_BL: torch.Tensor
    ) -> torch.Tensor:
        last_BD = self.last(history_BL, event_type_BL, others_BL)
        p_BH: torch.Tensor = self.network.heads(last_BD, since_B).sigmoid()
        return p_BH


def gathered(cohort: Cohort, max_length: int, columns: Sequence[str], label: np.ndarray | None = None) -> Questions:
    """A cohort with its rows of the log alone: of each history, what the newest `max_length` before a cutoff need.

    Rows of one customer at several cutoffs share their history. Items are those of the log.
    """
    start, of = np.unique(cohort.start, return_inverse=True)
    stop, low = start.copy(), np.full(len(start), np.iinfo(np.int64).max)
    np.maximum.at(stop, of, cohort.end)
    np.minimum.at(low, of, cohort.end)
    low = np.maximum(start, low - max_length)
    length = stop - low
    base = np.cumsum(length) - length
    rows = np.arange(length.sum()) + np.repeat(low - base, length)
    shift = (base - low)[of]
    return Questions(
        np.asarray(cohort.events.item[rows], np.int32),
        {name: np.asarray(getattr(cohort.events, name)[rows]) for name in columns},
        np.maximum(cohort.start, low[of]) + shift,
        np.asarray(cohort.end) + shift,
        np.asarray(cohort.cutoff),
        None if label is None else label.astype(np.float32),
    )


def numbered(asked: Questions, known_V: np.ndarray) -> Questions:
    """The same with the network's numbers for items: their own where known, else the one after the last."""
    item = asked.item
    known = known_V[np.where(item < len(known_V), item, 0)]
    number = np.where(known, item, len(known_V)).astype(np.int32)
    return Questions(number, asked.columns, asked.start, asked.end, asked.instant, asked.label)


def of_some_customers(customer: np.ndarray, share: float, seed: int) -> np.ndarray:
    """bool (n,): the rows of a share of the customers, drawn at random; all rows of a customer go together."""
    people, person = np.unique(customer, return_inverse=True)
    drawn: np.ndarray = np.random.default_rng(seed).permutation(len(people)) < round(share * len(people))
    return drawn[person]
