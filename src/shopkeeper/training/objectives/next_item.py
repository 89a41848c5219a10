"""The next item as an objective: at each position the next target event, against the catalogue or drawn negatives.

Shapes: N labelled positions, D width, V items + 1, C negatives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the field's own abbreviation)
from torch import Tensor

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.files import sha256_json
from shopkeeper.metrics.parallel import Cores
from shopkeeper.nn.loss_settings import Loss
from shopkeeper.nn.losses import Negatives, of_sequence, sampled_loss, smoothed
from shopkeeper.nn.network import SequenceNetwork
from shopkeeper.nn.softmax import softmax_cross_entropy
from shopkeeper.schema import event_codes
from shopkeeper.training.batching.batches import Batch, TrainingView
from shopkeeper.training.batching.blocks import warm_only
from shopkeeper.training.batching.cloze import ClozeView
from shopkeeper.training.config import Plan, Recipe
from shopkeeper.training.devices import memory
from shopkeeper.training.validation import Encode, Validator


class NextItem:
    """An `Objective` over a split (None: of a view, see `learn_from`). `inputs`: `all` event types are read, or
    `targets` alone; `k`: cut-off of the headline.

    `fallback_V`: scores float32 (V,) of requests without a usable history. `warm`: items without training rows are no
    classes, as if the catalogue lacked them; else the network would learn that what is new is not wanted.
    """

    lower_is_better = False

    def __init__(
        self,
        split: Split | None = None,
        target_events: Sequence[str] = (),
        inputs: str = "all",
        filter_seen: bool = False,
        k: int = 10,
        *,
        fallback_V: np.ndarray | None = None,
        warm: bool = False,
    ):
        self.warm = warm
        self.split = warm_only(split) if warm and split is not None else split
        self.target_events, self.inputs, self.filter_seen, self.k = tuple(target_events), inputs, filter_seen, k
        self.fallback_V = np.zeros(0, np.float32) if fallback_V is None else fallback_V
        self.view: Any = None  # a TrainingView, once it is opened
        self.validator: Validator | None = None
        self._class_items: Tensor | None = None
        self._drawn: Negatives | None = None

    @property
    def _split(self) -> Split:
        assert self.split is not None, "only a view is learned from"
        return self.split

    @property
    def rows(self) -> int:
        """Training rows."""
        return int((self._split.train_end - self._split.prepared.offsets[:-1]).sum())

    def identity(self) -> dict[str, Any]:
        """Its arguments, and which split of which data."""
        split = self._split
        train_end = sha256_json(np.asarray(split.train_end).tolist())
        asked = {"split": split.name, "targets": split.timeline.get("target_hash")}  # what chooses the epoch
        return self._asked() | {"data": split.prepared.fingerprint, "train_end": train_end, "asked": asked}

    def _asked(self) -> dict[str, Any]:
        values = {"target_events": list(self.target_events), "inputs": self.inputs, "filter_seen": self.filter_seen}
        return values | ({} if self.k == 10 else {"k": self.k}) | ({"warm": True} if self.warm else {})

    def told(self) -> dict[str, Any]:
        """Its arguments, and where the split lies: it is read from disk by each process."""
        prepared = self._split.prepared
        assert isinstance(prepared.events.item, np.memmap), "the processes read the split from disk, not from memory"
        return {"place": str(prepared.path.resolve()), "name": self._split.name, "asked": self._asked()}

    @classmethod
    def made_again(cls, told: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> NextItem:
        """As `told` says."""
        split = Split.named(Prepared.open(Path(told["place"])), told["name"])
        return cls(split, **told["asked"], fallback_V=arrays["fallback_V"])

    def furnish(self, network: SequenceNetwork) -> None:
        """Nothing: scores are products with the item embeddings."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Its arrays."""
        return {"fallback_V": self.fallback_V}

    def open(self, network: SequenceNetwork, recipe: Recipe, folder: Path | None) -> None:
        """Read the training rows."""
        length = network.shape.max_length
        self.learn_from(
            TrainingView.build(self._split, self.target_events, self.inputs, length, folder, network.reads),
            network,
            recipe.loss,
        )

    def learn_from(self, view: TrainingView | ClozeView, network: SequenceNetwork, loss: Loss) -> NextItem:
        """Take this view, whatever it was made from; gives itself."""
        self.view, self.length_U, self.n_classes = view, view.length_U, len(view.catalogue)
        self.labels_U = view.labels_U
        self.settings, self.negatives, self.bytes = loss, loss.drawn(self.n_classes), view.bytes
        return self

    def ready(self, network: SequenceNetwork, plan: Plan, device: torch.device, limit: int) -> None:
        """Flat arrays to the device where the plan says so; validation requests made ready."""
        if plan.resident:
            self.view = self.view.to(device)
        view = self.view
        if self.n_classes != network.item.num_embeddings - 1:
            self._class_items = torch.from_numpy(view.catalogue.astype(np.int64))
        if self.negatives:
            parts = view.label_class_T.split(1 << 22) if self.settings.draw == "popularity" else ()
            counts = [torch.bincount(part, minlength=self.n_classes) for part in parts]
            self._drawn = Negatives(self.settings, self.n_classes, torch.stack(counts).sum(0) if counts else None)
        if self.split is not None:
            self.validator = Validator.of(
                self.split,
                types=event_codes(list(self.target_events)) if self.inputs == "targets" else None,
                reads=network.reads,
                max_length=network.reach,
                filter_seen=self.filter_seen,
                fallback_V=self.fallback_V,
                edges=plan.edges,
                device=device,
                limit=limit,
                k=self.k,
                mask=network.mask,
            )

    def show(self, users: np.ndarray, plan: Plan, seed: int, epoch: int, device: torch.device) -> Batch:
        """The newest events of these customers, each with the next target event as its label."""
        batch: Batch = self.view.batch(users, plan.edges, seed, epoch, device, plan.pad)
        return batch

    def loss(self, x_PD: Tensor, batch: Batch, network: SequenceNetwork, plan: Plan, scale: float, seed: int) -> Tensor:
        """Cross-entropy over the catalogue, or another loss of `nn.losses` over this step's negatives.

        A network with a mask has made vectors of the labelled positions alone.
        """
        slot_N = batch.layout.slot_N if batch.labelled_N is None else batch.labelled_N
        h_ND, weight_VD = x_PD if network.mask else x_PD.index_select(0, slot_N), network.item.weight
        if self._drawn is not None:
            return self._sampled(h_ND, batch, slot_N, weight_VD, self._drawn, seed) * scale
        classes_VD, first = (weight_VD, 1) if self._class_items is None else (weight_VD[self._class_items], 0)
        loss = softmax_cross_entropy(
            h_ND,
            classes_VD,
            batch.label_N,
            scale=scale,
            first=first,
            kernel=plan.softmax,
            chunk=plan.chunk,
        )
        if share := self.settings.smoothing:
            loss = loss + scale * share * smoothed(h_ND, classes_VD, batch.label_N, first)
        return loss

    def _sampled(
        self, h_ND: Tensor, batch: Batch, slot_N: Tensor, weight_VD: Tensor, drawn: Negatives, seed: int
    ) -> Tensor:
        """The negatives are the same for every process and micro-batch."""
        label_N = batch.label_N
        class_C, log_q_C = drawn.draw(seed, h_ND.device)
        own_N, other_C = label_N + 1, class_C + 1
        if self._class_items is not None:
            self._class_items = self._class_items.to(label_N.device)
            own_N, other_C = self._class_items[label_N], self._class_items[class_C]
        own_ND, other_CD = (F.embedding(rows, weight_VD).to(h_ND.dtype) for rows in (own_N, other_C))
        taken_NC = None
        if self.settings.leave_out == "sequence":
            lay = batch.layout
            row_P = torch.zeros_like(batch.item_P).index_copy_(0, lay.slot_N, lay.row_N)
            shown = (batch.item_P[lay.slot_N], own_N, lay.row_N, row_P[slot_N])
            taken_NC = of_sequence(other_C, *shown, len(lay.last_B))
        asked = (h_ND, own_ND, other_CD, label_N, class_C, log_q_C)
        return sampled_loss(*asked, self.settings, self.n_classes, taken_NC)

    @property
    def headline(self) -> str | None:
        """NDCG@k over the whole catalogue."""
        return None if self.validator is None else self.validator.headline

    def measure(
        self, encode: Encode, network: SequenceNetwork, cores: Cores, rank: int, world: int
    ) -> Mapping[str, float]:
        """Ranking figures on the validation requests."""
        assert self.validator is not None
        return self.validator(encode, network.item.weight.detach(), cores, rank, world)

    def fewer(self) -> None:
        """Half as many requests at a time."""
        assert self.validator is not None
        self.validator.batch_size = memory.halve(self.validator.batch_size, "validation request")
