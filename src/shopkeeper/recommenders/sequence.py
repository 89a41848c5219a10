"""A sequence network as a recommender: what all of them share, so that a model is its network and a few lines.

A model is a subclass of `SequenceRecommender` that names its network and the shape it is made from:

    class SASRec(SequenceRecommender):
        format, network_class, shape_class = "shopkeeper.sasrec/1", SASRecNetwork, SASRecShape

Its settings are the fields of the shape (without `n_items` and `n_types`, which the data say) and of
`training.config.Recipe`, and `inputs`. It is trained by `training/` and answers from histories alone.

Shapes: B requests, D width, V items + 1, P positions of a batch.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from shopkeeper.closure import code_of
from shopkeeper.data.prepared import Prepared, Split
from shopkeeper.data.requests import Requests
from shopkeeper.errors import Rule, UserError, check, nearest, one_of, or_null
from shopkeeper.files import atomic_file, sha256_file, write_json
from shopkeeper.metrics.parallel import Cores
from shopkeeper.models.about import SCORES, VECTORS, About, Learned
from shopkeeper.models.fit import Fit
from shopkeeper.nn.network import COLUMNS, SequenceNetwork
from shopkeeper.nn.own import HISTORIES, OwnTerm
from shopkeeper.programs.base import GRAPH, Program
from shopkeeper.schema import EVENT_TYPES, event_codes
from shopkeeper.training.batching.batches import Batch
from shopkeeper.training.batching.blocks import seen_in_training
from shopkeeper.training.batching.histories import Histories
from shopkeeper.training.batching.own import RequestPairs, own_shape
from shopkeeper.training.config import Recipe, TrainerConfig
from shopkeeper.training.execution import edges_up_to
from shopkeeper.training.fit import Trained, train
from shopkeeper.training.next_item import NextItem
from shopkeeper.training.own_history import OwnHistory
from shopkeeper.training.taken_over import keys_of, take_over
from shopkeeper.training.validation import encode_all, known_items

OF_DATA = ("n_items", "n_types")  # fields of a shape that nobody sets
OWN: dict[str, tuple[Any, Rule]] = {  # settings of what is trained, with their defaults
    "history": ("none", one_of(*HISTORIES)),
    "targets": (None, or_null(one_of("events", "baskets"))),
    "item_statistics": ("frozen", one_of("frozen", "nightly")),
}
NOT_IN_A_GRAPH = "what its own history adds to single items is computed beside the network, which a graph does not do"
log = logging.getLogger(__name__)


class SequenceRecommender:
    """Scores are inner products of a history's last vector with the item embeddings.

    `inputs`: `all` reads every event type (with an embedding of the type, where the network has one), `targets` only
    the target events. `history`: what the customer's own history adds to the scores of its items (`nn.own`), and with
    it demand, as `item_statistics` says: at the training end (`frozen`) or until the midnight before each request
    (`nightly`). `targets`: `events` (one line of the next step, after every event) or `baskets` (all lines of the next
    step, asked before it); None: baskets where there is a `history`. Further keyword arguments are those of the shape
    and of `training.config.Recipe`.
    """

    format: ClassVar[str]  # of the weights, such as "shopkeeper.sasrec/1"
    network_class: ClassVar[type[SequenceNetwork]]
    shape_class: ClassVar[type[Any]]

    def __init__(self, inputs: str = "all", **settings: Any):
        if type(self) is SequenceRecommender:
            raise UserError(f"{type(self).__name__} is what models are made from; choose one of conf/model/*.yaml")
        valid = {"inputs", *OWN, *self._names(), *(f.name for f in fields(Recipe))}
        for name in settings:
            if name not in valid:
                raise UserError(f"a {type(self).__name__} has no setting model.{name}.{nearest(name, valid)}")
        default = self._shape(1)
        self.settings = {name: settings.pop(name, getattr(default, name)) for name in self._names()}
        self._shape(1, **self.settings)  # checks them
        chosen = {name: settings.pop(name, usual) for name, (usual, _) in OWN.items()}
        check(chosen, {name: rule for name, (_, rule) in OWN.items()}, "model.")
        self.inputs, self.history = inputs, chosen["history"]
        self.nightly = chosen["item_statistics"] == "nightly" and self.history != "none"
        self.targets = chosen["targets"] or ("events" if self.history == "none" else "baskets")
        self.recipe = Recipe(**settings)
        if self._own and self.recipe.loss.name != "softmax":
            raise UserError(
                f"model.history={self.history} with targets={self.targets} is learned over the whole catalogue, and "
                f"loss={self.recipe.loss.name} draws negatives; use loss=softmax, or history=none and targets=events"
            )
        self.network: SequenceNetwork | None = None
        self.known_V = np.zeros(0, bool)
        self.item_keys = np.zeros(0, np.int64)  # hashes of external item ids, to find items again in other data
        self.types: list[int] | None = None  # event codes that are read; None: all
        self.target_codes: list[int] = []  # of target events
        self.fallback_V = np.zeros(0, np.float32)
        self.trained: Trained | None = None

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
            not_exported=NOT_IN_A_GRAPH if own else "",
        )

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> Learned:
        """Learn from `split.training_rows()`; validation requests choose the epoch."""
        config = TrainerConfig.of(dict(fit.trainer) | ({"max_epochs": fit.steps} if fit.steps else {}))
        codes = self.target_codes = event_codes(list(fit.target_events))
        kinds, self.fallback_V = seen_in_training(split, codes)
        typed = self.inputs == "all" and len(kinds) > 1
        self.types = None if self.inputs == "all" else codes
        shape = self._shape(prepared.n_items, len(EVENT_TYPES) if typed else 0, **self.settings)
        self.known_V = known_items(prepared.n_items, split.catalogue)
        torch.manual_seed(fit.seed)
        self.network = self._made(shape)
        self.item_keys = keys_of(prepared)
        start = None if fit.init_from is None else self._start_from(fit.init_from)
        self.trained = train(
            self.network,
            split,
            self._objective(fit),
            recipe=self.recipe,
            config=config,
            seed=fit.seed,
            identity={
                "model": self.format,
                "init_from": start,
                "code": code_of(type(self).__module__, "shopkeeper.training.worker"),
                **({"history": self.history} if self._own else {}),
                **asdict(shape),
            },
            folder=fit.folder,
            progress=fit.progress,
            on_epoch=fit.log,
        )
        return Learned(self.steps, self.trained.plan.to_json(), self.trained.history)

    @property
    def steps(self) -> int | None:
        """The epoch that validation chose."""
        return None if self.trained is None else self.trained.best_epoch

    def encode(self, requests: Requests) -> tuple[np.ndarray, np.ndarray]:
        """Request vectors float32 (B, D), and who gets the fallback: no event of a known item and type."""
        network = self._network()
        shape = network.shape
        histories = Histories.of(requests, self.known_V, self.types, shape.max_length, network.reads)

        def last_vectors(core: int, batch: Batch) -> torch.Tensor:
            out: torch.Tensor = network(network.embed(batch), batch.layout.groups, False, batch.layout.last_B)
            return out

        with Cores(torch.get_num_threads()) as cores, torch.inference_mode():
            vector_BD, blank_B = encode_all(
                last_vectors,
                histories,
                len(requests),
                edges_up_to(shape.max_length),
                torch.device("cpu"),
                network.reads,
                shape.width,
                batch_size=64,  # activations of a small batch stay in the cache: a quarter less time than 256
                cores=cores,
            )
        return vector_BD.numpy(), blank_B.numpy()

    def score(self, requests: Requests) -> np.ndarray:
        """Scores float32 (B, V); rows without a usable history get the popularity of items."""
        vector_BD, blank_B = self.encode(requests)
        score_BV: np.ndarray = vector_BD @ self.item_vectors().T
        if (own := self._network().own) is not None:
            asked = (requests, self.known_V, self.types, self.target_codes)
            RequestPairs.of(*asked, own, self.nightly).add(score_BV, vector_BD, self.item_vectors(), own)
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
        network = copy.deepcopy(self._network()).float().cpu().eval()
        inputs = tuple(name for name in network.reads if name != "type")
        return Program(
            GRAPH,
            module=_Scores(network, inputs),
            inputs=inputs,
            needs_time=bool({"age", "until"} & set(inputs)),
            needs_instant="until" in inputs,
            fallback=self.fallback_V,
            max_length=network.shape.max_length,
            event_types=None if self.types is None else tuple(EVENT_TYPES[code - 1] for code in self.types),
            known=self.known_V,
        )

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors` (network, fallback, known items, shape) and `training.json` (plan, history)."""
        network = self._network()
        tensors = {f"network.{k}": v.contiguous() for k, v in network.state_dict().items()}
        tensors["fallback"] = torch.from_numpy(self.fallback_V)
        tensors["known"] = torch.from_numpy(self.known_V)
        tensors["item_keys"] = torch.from_numpy(self.item_keys)
        spec = {"shape": asdict(network.shape), "types": self.types, "inputs": self.inputs}
        if network.own is not None:
            spec |= {"history": self.history, "target_codes": self.target_codes}
        Path(folder).mkdir(parents=True, exist_ok=True)
        with atomic_file(Path(folder) / "weights.safetensors") as tmp:
            # One entry: several are written in an order that changes from process to process.
            save_file(tensors, tmp, {"shopkeeper": json.dumps({"format": self.format, **spec}, sort_keys=True)})
        if self.trained is not None:
            write_json(Path(folder) / "training.json", self.trained.summary())

    def load(self, folder: Path) -> None:
        """Read what `save` wrote; a `UserError` when it is damaged or belongs to another model."""
        path = Path(folder) / "weights.safetensors"
        try:
            with safe_open(path, "pt") as file:
                spec = _spec(file.metadata() or {})
                if spec.get("format") != self.format:
                    said = spec.get("format", "something else")
                    raise UserError(f"{path} holds {said}, not {self.format}; check run=")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            raise UserError(f"{path} is missing; train the model again") from None
        except (SafetensorError, OSError) as e:
            raise UserError(f"{path} is damaged ({e}); train the model again") from None
        self.history, self.target_codes = spec.get("history", "none"), spec.get("target_codes", [])
        self.network = self._made(self.shape_class(**spec["shape"]))
        self.types, self.inputs = spec["types"], spec["inputs"]
        self.fallback_V = tensors.pop("fallback").numpy()
        self.known_V = tensors.pop("known").numpy()
        self.item_keys = tensors.pop("item_keys").numpy()
        self.network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items()})
        self.network.eval()

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
        mine, theirs = asdict(network.shape), asdict(old._network().shape)
        free = (*OF_DATA, "max_length")
        for name in (name for name in mine if name not in free and not name.startswith("dropout")):
            if mine[name] != theirs[name]:
                raise UserError(
                    f"init_from={run} was trained with {name}={theirs[name]}, this model has {mine[name]}; "
                    f"set model.{name}={theirs[name]} or train from scratch"
                )
        if old.history != self.history:
            raise UserError(
                f"init_from={run} was trained with history={old.history}, this model has {self.history}; set "
                f"model.history={old.history} or train from scratch"
            )
        if old._network().state_dict().keys() - network.state_dict().keys():
            raise UserError(
                f"init_from={run} tells event types apart and this training has only one type to read; "
                f"set model.inputs=all where the data have several, or train from scratch"
            )
        common = take_over(network, self.item_keys, old._network(), old.item_keys)
        log.info("warm start from %s: %d of %d items were known there", run, common, len(self.item_keys))
        return sha256_file(run / "weights.safetensors")[:16]

    @property
    def _own(self) -> bool:
        return self.history != "none" or self.targets == "baskets"

    def _made(self, shape: Any) -> SequenceNetwork:
        """A network, with a term for the own history where one is asked for."""
        network = self.network_class(shape)
        if self.history != "none":
            network.add(OwnTerm(own_shape(shape.n_items, shape.width, self.history)))
        return network

    def _objective(self, fit: Fit) -> NextItem:
        asked = (fit.target_events, self.inputs, fit.filter_seen, fit.k)
        if not self._own:
            return NextItem(*asked, fallback_V=self.fallback_V)
        return OwnHistory(*asked, baskets=self.targets == "baskets", nightly=self.nightly, fallback_V=self.fallback_V)

    def _network(self) -> SequenceNetwork:
        if self.network is None:
            raise UserError(f"this {type(self).__name__} has no weights yet: call fit or load first")
        return self.network

    @classmethod
    def _names(cls) -> list[str]:
        """Fields of the shape that may be set."""
        return [f.name for f in fields(cls.shape_class) if f.name not in OF_DATA]

    @classmethod
    def _shape(cls, n_items: int, n_types: int = 0, **settings: Any) -> Any:
        can = any(f.name == "n_types" for f in fields(cls.shape_class))
        return cls.shape_class(n_items, **({"n_types": n_types} if can else {}), **settings)


class _Scores(torch.nn.Module):
    """Histories (B, L), padded on the left, their event types and whatever else is read -> scores (B, V)."""

    def __init__(self, network: SequenceNetwork, inputs: tuple[str, ...] = ()):
        super().__init__()
        self.network, self.inputs = network, inputs

    def forward(self, history_BL: torch.Tensor, event_type_BL: torch.Tensor, *others_BL: torch.Tensor) -> torch.Tensor:
        typed = event_type_BL if "type" in self.network.reads else None
        others = dict(zip(self.inputs, others_BL, strict=True))
        if "channel" in others:  # codes, in a graph whose further inputs are all of one type
            others["channel"] = others["channel"].long()
        last_BD = self.network.exported(history_BL, typed, **others)
        scores_BV: torch.Tensor = last_BD @ self.network.item.weight.T
        return scores_BV


def _spec(meta: Mapping[str, str]) -> dict[str, Any]:
    """What the header of a file of weights says; also of files that had it in two entries."""
    try:
        found = json.loads(meta["shopkeeper"]) if "shopkeeper" in meta else json.loads(meta.get("spec", "{}"))
    except ValueError:
        return {}
    return {"format": meta.get("format"), **found} if isinstance(found, dict) else {}
