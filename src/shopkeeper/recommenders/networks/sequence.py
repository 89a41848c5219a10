"""A sequence network as a recommender: what all of these share, so that a model is its network and a few lines.

A model is a subclass of `SequenceRecommender` that names its network and the shape it is made from:

    class SASRec(SequenceRecommender):
        format, network_class, shape_class = "shopkeeper.sasrec/1", SASRecNetwork, SASRecShape

Its settings are the fields of the shape (without `n_items` and `n_types`, which the data say) and of
`training.config.Recipe`, and `inputs`. It is trained by `training/` and answers from histories alone.

Shapes: B requests, D width, V items + 1, P positions of a batch.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import Rule, UserError, check, number, one_of, or_null, share
from shopkeeper.features.content import Content, item_content
from shopkeeper.files import sha256_file
from shopkeeper.models.about import SCORES, VECTORS, About, Learned
from shopkeeper.models.fit import Fit
from shopkeeper.nn.content import ContentShape, HybridItems
from shopkeeper.nn.network import COLUMNS, SequenceNetwork
from shopkeeper.nn.own import HISTORIES, OwnTerm
from shopkeeper.programs.base import GRAPH, Program
from shopkeeper.schema import EVENT_TYPES, event_codes
from shopkeeper.training.batching.blocks import seen_in_training, warm_only
from shopkeeper.training.batching.histories import Histories
from shopkeeper.training.batching.own import RequestPairs, own_shape
from shopkeeper.training.objectives.next_item import NextItem
from shopkeeper.training.objectives.own_history import OwnHistory
from shopkeeper.training.sequence_model import WEIGHTS, PlainForm, SequenceModel
from shopkeeper.training.taken_over import check_shapes, keys_of, take_over
from shopkeeper.training.validation import known_items

CONTENT: Rule = (
    "must be none, all, or a list of columns of the item table such as [category, brand]",
    lambda x: isinstance(x, str) or (isinstance(x, Sequence) and all(isinstance(name, str) for name in x)),
)
OWN: dict[str, tuple[Any, Rule]] = {  # settings of what is trained, with their defaults
    "history": ("none", one_of(*HISTORIES)),
    "targets": (None, or_null(one_of("events", "baskets"))),
    "item_statistics": ("frozen", one_of("frozen", "nightly")),
    "network_pace": (1.0, share(above=True)),
    "basket_weight": (0.0, share()),
    "demand_age": (0.0, number()),
    "content": ("none", CONTENT),
    "id_dropout": (0.5, number(below=1)),
    "item_init": ("random", one_of("random", "svd", "content")),
}
log = logging.getLogger(__name__)


class SequenceRecommender(SequenceModel):
    """Scores are inner products of a history's last vector with the item embeddings.

    `inputs`: `all` reads every event type (with an embedding of the type, where the network has one), `targets` only
    the target events. `history`: what the customer's own history adds to the scores of its items (`nn.own`), and with
    it demand, as `item_statistics` says: at the training end (`frozen`) or until the midnight before each request
    (`nightly`); `network_pace`: of the learning rate, what the network gets beside it. `targets`: `events` (one line of
    the next step, after every event) or `baskets` (all lines of the next step, asked before it); None: baskets where
    there is a `history`; a basket of n lines weighs as n to `basket_weight`. `demand_age`: in training,
    frozen demand is of up to so many days before, as it is when it is asked. `content`: columns of the item table that
    item vectors are made of beside ids (`nn.content`), or `all`, or `none`; ids are left out at times, as `id_dropout`
    says.
    `item_init`: what item vectors begin with: `random`, `svd` of who was there for what in training, or `content` of
    the item table (`features.item_start`), the columns that `content` names, or all.
    Further keyword arguments are those of the shape and of `training.config.Recipe`.
    """

    objective_class: ClassVar[type[NextItem]] = NextItem  # what it learns without an own history and baskets

    def __init__(self, inputs: str = "all", **settings: Any):
        if type(self) is SequenceRecommender:
            raise UserError(f"{type(self).__name__} is what models are made from; choose one of conf/model/*.yaml")
        chosen = {name: settings.pop(name, usual) for name, (usual, _) in OWN.items()}
        super().__init__(("inputs", *OWN), settings)
        check(chosen, {name: rule for name, (_, rule) in OWN.items()}, "model.")
        self.inputs, self.history = inputs, chosen["history"]
        self.pace, self.power, self.age = (chosen[name] for name in ("network_pace", "basket_weight", "demand_age"))
        self.content, self.id_dropout = chosen["content"], chosen["id_dropout"]
        self.item_init = chosen["item_init"]
        self.nightly = chosen["item_statistics"] == "nightly" and self.history != "none"
        self.targets = chosen["targets"] or ("events" if self.history == "none" else "baskets")
        if self._own and self.objective_class is not NextItem:
            raise UserError(
                f"model.history={self.history} with targets={self.targets} is asked about the next step, and "
                f"{type(self).__name__} learns items of any place; choose history=none and targets=events, or "
                f"model=sasrec_history"
            )
        if self._own and self.recipe.loss.name != "softmax":
            raise UserError(
                f"model.history={self.history} with targets={self.targets} is learned over the whole catalogue, and "
                f"loss={self.recipe.loss.name} draws negatives; use loss=softmax, or history=none and targets=events"
            )
        if self._own and self.recipe.loss.smoothing:
            raise UserError(
                f"loss.smoothing={self.recipe.loss.smoothing:g} is of single labels, and model.history={self.history} "
                f"with targets={self.targets} learns all of the next step; use loss.smoothing=0, or history=none and "
                f"targets=events"
            )
        self.known_V = np.zeros(0, bool)
        self.item_keys = np.zeros(0, np.int64)  # hashes of external item ids, to find items again in other data
        self.types: list[int] | None = None  # event codes that are read; None: all
        self.target_codes: list[int] = []  # of target events
        self.fallback_V = np.zeros(0, np.float32)

    @property
    def about(self) -> About:
        """Event types are told apart, or chosen, by every network; the rest is what the network asks for."""
        asked = () if self.network is None else self.network.reads
        own = self.history != "none"
        beside = ("timestamp", "order", "session") if own else ()
        return About(
            answers=SCORES if own else VECTORS,
            reads=tuple(dict.fromkeys(("event_type", *(COLUMNS[name] for name in asked), *beside))),
            reads_instant="until" in asked or self.history == "kernel",
            types=None if self.types is None else tuple(EVENT_TYPES[code - 1] for code in self.types),
            needs=("nightly",) if self.nightly else (),
            resumes=True,
            starts_warm=True,
            not_exported="it reads last night's demand, which a bundle is not told" if self.nightly else "",
        )

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> Learned:
        """Learn from `split.training_rows()`; validation requests choose the epoch."""
        from shopkeeper.training.fit import train  # Lightning: who only answers does without it

        codes = self.target_codes = event_codes(list(fit.target_events))
        kinds, self.fallback_V = seen_in_training(split, codes)
        typed = self.inputs == "all" and len(kinds) > 1
        self.types = None if self.inputs == "all" else codes
        shape = self._shape(prepared.n_items, len(EVENT_TYPES) if typed else 0, **self.settings)
        self.known_V = known_items(prepared.n_items, split.known)
        torch.manual_seed(fit.seed)
        self.network = self._made(shape)
        told = self._begin(self.network, prepared, split) | self._know(self.network, prepared, split)
        self.item_keys = keys_of(prepared)
        start = None if fit.init_from is None else self._start_from(fit.init_from)
        self.trained = train(
            self.network,
            self._objective(split, fit),
            recipe=self.recipe,
            config=fit.limited,
            seed=fit.seed,
            identity=self.identity(shape) | {"init_from": start} | told,
            folder=fit.folder,
            progress=fit.progress,
            on_epoch=fit.log,
        )
        trained = self.trained
        return Learned(self.steps, trained.plan.to_json(), trained.history, epochs=trained.averaged)

    def encode(self, requests: Requests) -> tuple[np.ndarray, np.ndarray]:
        """Request vectors float32 (B, D), and who gets the fallback: no event of a known item and type."""
        network = self._network()
        histories = Histories.of(requests, self.known_V, self.types, network.reach, network.reads, network.mask)
        vector_BD, blank_B = self.vectors(histories, len(requests))
        return vector_BD.numpy(), blank_B.numpy()

    def score(self, requests: Requests) -> np.ndarray:
        """Scores float32 (B, V); rows without a usable history get the popularity of items."""
        (vector_BD, blank_B), item_VD = self.encode(requests), self.item_vectors()
        score_BV: np.ndarray = vector_BD @ item_VD.T
        if (own := self._network().own) is not None:
            asked = (requests, self.known_V, self.types, self.target_codes)
            RequestPairs.of(*asked, own, self.nightly).put(score_BV, vector_BD, item_VD, own)
        score_BV[blank_B] = self.fallback_V
        return score_BV

    def item_vectors(self) -> np.ndarray:
        """Item embeddings float32 (V, D); row 0 is padding."""
        vectors: np.ndarray = self._network().item.weight.detach().numpy()
        return vectors

    def fallback(self) -> np.ndarray:
        """Scores float32 (V,) for a request without a usable history."""
        return self.fallback_V

    def program(self, timed: bool) -> Program:
        """The network's plain form on left-padded histories in float32, and what is done around it."""
        module = _Scores(self._network())
        clock = self.history == "kernel"
        return Program(
            GRAPH,
            module=module,
            inputs=module.inputs,
            needs_time=clock or any(COLUMNS[name] == "timestamp" for name in module.inputs),
            needs_instant=clock or "until" in module.inputs,
            columns=("order", "session") if self.history != "none" else (),
            own=self._own_arrays(),
            own_scored=self.history == "copy",
            fallback=self.fallback_V,
            max_length=module.network.reach,
            event_types=None if self.types is None else tuple(EVENT_TYPES[code - 1] for code in self.types),
            known=self.known_V,
        )

    def _own_arrays(self) -> dict[str, np.ndarray] | None:
        """What `programs.own` reads; None where nothing is added for own items."""
        if (own := self._network().own) is None:
            return None
        told = own.arrays() | {"known": self.known_V, "targets": np.array(self.target_codes, np.int8)}
        types = range(1, len(EVENT_TYPES) + 1) if self.types is None else self.types
        return told | {"types": np.array(list(types), np.int8), "clock": np.array([self.history == "kernel"])}

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors` (network, fallback, known items, shape) and `training.json` (plan, history)."""
        network = self._network()
        others = {"fallback": self.fallback_V, "known": self.known_V, "item_keys": self.item_keys}
        spec: dict[str, Any] = {"types": self.types, "inputs": self.inputs}
        if network.own is not None:
            spec |= {"history": self.history, "target_codes": self.target_codes}
        if self.content != "none":
            spec |= {"content": self.content, "content_shape": network.beside["content"]}
        self.write_weights(folder, {name: torch.from_numpy(values) for name, values in others.items()}, spec)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote; a `UserError` when it is damaged or belongs to another model."""
        spec, tensors = self.read_weights(folder)
        self.history, self.target_codes = spec.get("history", "none"), spec.get("target_codes", [])
        network, self.content = self._made(self.shape_class(**spec["shape"])), spec.get("content", "none")
        if self.content != "none":
            network.know(ContentShape(**spec["content_shape"]))
        self.take_weights(network, tensors)
        self.types, self.inputs = spec["types"], spec["inputs"]
        self.fallback_V, self.known_V = tensors["fallback"].numpy(), tensors["known"].numpy()
        self.item_keys = tensors["item_keys"].numpy()

    def _start_from(self, run: Path) -> str:
        """Take over the weights of another run, and say which they are (a hash).

        Items are matched by external id; new ones, and event types where the other run had none, keep their random
        start.
        """
        old, network = type(self)(), self._network()
        try:
            old.load(run)
        except UserError as e:
            raise UserError(f"init_from={run} is no run of this model: {e}") from None
        check_shapes(network, old._network(), run)
        if old.history != self.history:
            raise UserError(
                f"init_from={run} was trained with history={old.history}, this model has {self.history}; set "
                f"model.history={old.history} or train from scratch"
            )
        if (old.content == "none") != (self.content == "none"):
            raise UserError(
                f"init_from={run} was trained with content={old.content}, this model has {self.content}; set "
                f"model.content={old.content} or train from scratch"
            )
        if old._network().state_dict().keys() - network.state_dict().keys():
            raise UserError(
                f"init_from={run} tells event types apart and this training has only one type to read; "
                f"set model.inputs=all where the data have several, or train from scratch"
            )
        common = take_over(network, self.item_keys, old._network(), old.item_keys)
        log.info("warm start from %s: %d of %d items were known there", run, common, len(self.item_keys))
        return sha256_file(run / WEIGHTS)[:16]

    @property
    def _own(self) -> bool:
        return self.history != "none" or self.targets == "baskets"

    def _made(self, shape: Any) -> SequenceNetwork:
        """A network, with a term for the own history where one is asked for."""
        network = self.network_class(shape)
        if self.history != "none":
            network.add(OwnTerm(own_shape(shape.n_items, shape.width, self.history)))
        return network

    def _know(self, network: SequenceNetwork, prepared: Prepared, split: Split) -> dict[str, Any]:
        """Tell a new network what the items are, where it is asked to read that; what a checkpoint must agree with."""
        said: dict[str, Any] = {"history": self.history} if self._own else {}
        if self.content == "none":
            return said
        found, trained_V = self._read(prepared, split, self.content)
        network.know(ContentShape(len(found.key_U), len(found.token_E), found.number_VF.shape[1], self.id_dropout))
        assert isinstance(network.item, HybridItems)
        network.item.tell(vars(found), trained_V)
        return said | {"content": found.hash, "id_dropout": self.id_dropout}

    def _begin(self, network: SequenceNetwork, prepared: Prepared, split: Split) -> dict[str, Any]:
        """Give the items of a new network their start; what a checkpoint must agree with."""
        if self.item_init == "random":
            return {}
        from shopkeeper.features.item_start import alike, taken_together

        if self.item_init == "svd":
            network.begin(torch.from_numpy(taken_together(split, self.types, network.shape.width)))
            return {"item_init": "svd"}
        found, _ = self._read(prepared, split, "all" if self.content == "none" else self.content)
        start_VR = alike(found, network.shape.width)
        if not start_VR.shape[1]:
            raise UserError(
                f"model.item_init=content: the item table of {prepared.name} says nothing that several items share; "
                f"use item_init=svd (who was there for what), or random"
            )
        network.begin(torch.from_numpy(start_VR))
        return {"item_init": f"content {found.hash}"}

    def _read(self, prepared: Prepared, split: Split, names: Sequence[str] | str) -> tuple[Content, np.ndarray]:
        """What the item table says, as known by the training end, and which items training has seen: bool (V,)."""
        until = (split.timeline.get("cutoffs") or {}).get("validation", {}).get("us")
        trained_V = known_items(prepared.n_items, warm_only(split).known)
        return item_content(prepared, names, until, trained_V), trained_V

    def _objective(self, split: Split, fit: Fit) -> NextItem:
        asked = (split, fit.target_events, self.inputs, fit.filter_seen, fit.k)
        beside = {"fallback_V": self.fallback_V, "warm": self.content != "none"}
        if not self._own:
            return self.objective_class(*asked, **beside)
        told = {"baskets": self.targets == "baskets", "nightly": self.nightly, "pace": self.pace, "power": self.power}
        return OwnHistory(*asked, **told, age=0.0 if self.nightly else self.age, **beside)


class _Scores(PlainForm):
    """Histories (B, L), padded on the left, their event types and whatever else is read -> scores (B, V)."""

    def forward(self, history_BL: torch.Tensor, event_type_BL: torch.Tensor, *others_BL: torch.Tensor) -> Any:
        last_BD, own = self.last(history_BL, event_type_BL, others_BL), self.network.own
        scores_BV: torch.Tensor = last_BD @ self.network.item.weight.T
        if own is None:
            return scores_BV
        demand_V = own.trust * own.demand_SV[0]
        if own.copy is None:
            return scores_BV + demand_V
        own_BV = (last_BD + own.copy(last_BD)) @ self.network.item.weight.T
        return scores_BV + demand_V, own_BV + demand_V
