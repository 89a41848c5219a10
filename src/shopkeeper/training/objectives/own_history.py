"""Baskets as targets, and the customer's own history in the scores: an objective for any sequence network.

What is asked: with `targets: baskets` once before each step that holds target events, at its instant, and all of the
step's lines are right; with `events` after every event, and one line is drawn, as in `next_item`. The own history's
term (`nn.own`) reads the last events before, also those beyond the network's window. Demand is that of the begin of the
day; when asked later, that of the training end, or of the night before. An item that had not been seen until a day is
no class on it: else the network would learn that new items are not wanted.

Shapes: Q queries, R pairs of a query and an own item, L labels, M training rows, B requests, V items + 1, C classes,
T snapshots, S half-lives of demand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shopkeeper.metrics.parallel import Cores
from shopkeeper.nn.basket_softmax import basket_cross_entropy
from shopkeeper.nn.network import SequenceNetwork
from shopkeeper.schema import MICROSECONDS_PER_DAY, event_codes
from shopkeeper.training.batching.batches import Batch
from shopkeeper.training.batching.own import NOT_YET, Pairs, RequestPairs, demand, training_own, usual_gaps
from shopkeeper.training.config import Plan, Recipe
from shopkeeper.training.objectives.next_item import NextItem
from shopkeeper.training.validation import Encode


@dataclass(frozen=True)
class Asked:
    """The queries of a batch and what is right for them."""

    slot_Q: Tensor  # flat position of each query
    table_Q: Tensor  # which snapshot of demand
    query_L: Tensor
    class_L: Tensor
    weight_L: Tensor  # float32, alike in each query; on average they sum to 1 in one
    pairs: Pairs | None
    class_R: Tensor

    def to(self, device: torch.device) -> Asked:
        """On a device."""
        moved = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        return replace(self, **{name: value.to(device) for name, value in moved.items()})


@dataclass(frozen=True)
class AskedBatch(Batch):
    """A batch with its queries."""

    asked: Asked = field(kw_only=True)


class OwnHistory(NextItem):
    """An `Objective`; `baskets`: whole baskets are targets; `nightly`: validation is told last night's demand.

    `pace`: of the learning rate, what the network beside the term gets. `power`: a basket of n lines weighs as n to
    this (0: each alike). `age`: a query is told demand as it was up to so many days before, each time of another day,
    and never of before the middle of what lies behind it; what came into the shop since then it is not asked for. The
    rest as of `NextItem`, and the full softmax alone.
    """

    def __init__(
        self,
        *args: Any,
        baskets: bool = True,
        nightly: bool = False,
        pace: float = 1.0,
        power: float = 0.0,
        age: float = 0.0,
        **options: Any,
    ):
        super().__init__(*args, **options)
        self.baskets, self.nightly, self.pace, self.power, self.age = baskets, nightly, pace, power, age
        self._ages = (-1, -1), np.zeros(0, np.float32)  # of which seed and epoch, as shares of `age`

    def _asked(self) -> dict[str, Any]:
        asked = super()._asked() | {"baskets": self.baskets, "nightly": self.nightly}
        asked |= {} if self.pace == 1 else {"pace": self.pace}
        asked |= {} if self.age == 0 else {"age": self.age}
        return asked | ({} if self.power == 0 else {"power": self.power})

    def open(self, network: SequenceNetwork, recipe: Recipe, folder: Path | None) -> None:
        """Read the training rows; tell the network's term what is known of the items at their end."""
        super().open(network, recipe, folder)
        split = self._split
        codes, view = event_codes(list(self.target_events)), self.view
        history = "none" if network.own is None else network.own.shape.history
        self.own = training_own(split, codes if self.inputs == "targets" else None, codes, history)
        self.lo_M = view.label_lo_M.numpy()
        count_M = None if view.label_count_M is None else view.label_count_M.numpy()
        self.class_T = view.label_class_T.numpy()
        self.class_V = np.full(split.prepared.n_items + 1, -1, np.int64)
        self.class_V[split.catalogue] = np.arange(len(split.catalogue))
        self.count_M = np.ones(len(self.lo_M), np.int32) if count_M is None else count_M
        # Asked before a step begins: after the last row whose next target step it is.
        self.asked_M = (
            np.append(self.lo_M[1:] != self.lo_M[:-1], True) if self.baskets else np.ones(len(self.lo_M), bool)
        )
        inside = np.zeros(len(self.lo_M) + 1, np.int64)
        np.add.at(inside, view.start_U, 1)
        np.add.at(inside, view.start_U + view.length_U, -1)
        in_window = np.cumsum(inside[:-1]) > 0
        queries = in_window & self.asked_M
        self.usual = float((self.count_M[queries] ** self.power).mean()) if queries.any() else 1.0
        self.each = float(in_window.sum()) / max(float(queries.sum()), 1.0)  # positions of a query
        self.term, self.start_T = network.own, np.full(1, np.iinfo(np.int64).min)
        table_TCS = np.zeros((1, len(split.catalogue), 1), np.float32)
        if network.own is not None:
            network.own.pace = self.pace
            self.start_T, table_TCS, now_SV = demand(self.own, codes, split.catalogue, len(self.class_V))
            if self.warm:  # of new items nothing is known, which is not to say that nobody wants them
                now_SV[:, self.class_V < 0] = 0
            network.own.demand_SV.copy_(torch.from_numpy(now_SV))
            network.own.usual_V.copy_(torch.from_numpy(usual_gaps(self.own, len(self.class_V))))
        self.demand_TCS, self.table_TC = table_TCS, torch.from_numpy(np.ascontiguousarray(table_TCS[:, :, 0]))
        self.bytes += self.own.bytes + table_TCS.nbytes + self.table_TC.nbytes

    def ready(self, network: SequenceNetwork, plan: Plan, device: torch.device, limit: int) -> None:
        """Also the own history of validation requests."""
        super().ready(network, plan, device, limit)
        self.table_TC = self.table_TC.to(device)
        if self.validator is not None and network.own is not None:
            codes = event_codes(list(self.target_events))
            types = codes if self.inputs == "targets" else None
            known_V = self.class_V >= 0
            known_V[self._split.known] = True
            self.asks = RequestPairs.of(self.validator.requests, known_V, types, codes, network.own, self.nightly)

    def show(self, users: np.ndarray, plan: Plan, seed: int, epoch: int, device: torch.device) -> Batch:
        """The newest events of these customers, what is asked of them, and the targets."""
        batch = super().show(users, plan, seed, epoch, device)
        users = users[np.argsort(self.length_U[users], kind="stable")]
        length_B = self.length_U[users]
        row_N = np.repeat(self.view.start_U[users] - (np.cumsum(length_B) - length_B), length_B)
        row_N = row_N + np.arange(len(row_N))
        at_Q = np.flatnonzero(self.asked_M[row_N])
        row_Q = row_N[at_Q]
        query_L, class_L, weight_L = self._labels(row_Q, at_Q, batch)
        when_Q = None if self.own.time is None else self.own.time[row_Q + 1]
        table_Q = np.zeros(len(row_Q), np.int64)
        if when_Q is not None:
            known_Q = self._known_until(when_Q, row_Q, seed, epoch)
            table_Q = np.maximum(np.searchsorted(self.start_T, known_Q, "right") - 1, 0)
        if self.age and self.term is not None:
            there = self.demand_TCS[table_Q[query_L.numpy()], class_L.numpy(), 0] > NOT_YET / 2
            query_L, class_L, weight_L = (labels[torch.from_numpy(there)] for labels in (query_L, class_L, weight_L))
        pairs, class_R = None, np.zeros(0, np.int64)
        if self.term is not None:
            demand_RS = lambda query, item: self.demand_TCS[table_Q[query], self.class_V[item]]  # noqa: E731
            pairs = Pairs.of(self.own, row_Q, when_Q, self.term, demand_RS)
            class_R = self.class_V[pairs.item_R.numpy()]
            if self.age:
                there = self.demand_TCS[table_Q[pairs.query_R.numpy()], class_R, 0] > NOT_YET / 2
                class_R = np.where(there, class_R, -1)
            pairs, class_R = pairs.only(class_R >= 0), class_R[class_R >= 0]  # without what is read and never asked for
        asked = Asked(
            batch.layout.slot_N[torch.from_numpy(at_Q).to(batch.layout.slot_N.device)],
            torch.from_numpy(table_Q), query_L, class_L, weight_L, pairs, torch.from_numpy(class_R),
        )  # fmt: skip
        columns = {f.name: getattr(batch, f.name) for f in fields(Batch)}
        return AskedBatch(**columns, asked=asked.to(device))

    def _known_until(self, when_Q: np.ndarray, row_Q: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """Until when demand is known to queries after the rows `row_Q`: int64 µs (Q,), however batches are cut."""
        if not self.age or self.term is None:
            return when_Q
        of, share_M = self._ages
        if of != (seed, epoch):
            share_M = np.random.default_rng([seed, epoch]).random(len(self.lo_M), np.float32)
            self._ages = (seed, epoch), share_M
        most_Q = np.minimum(self.age * MICROSECONDS_PER_DAY, np.maximum(when_Q - self.start_T[0], 0) / 2)
        return when_Q - (share_M[row_Q] * most_Q).astype(np.int64)

    def _labels(self, row_Q: np.ndarray, at_Q: np.ndarray, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        if not self.baskets:
            query = torch.arange(len(row_Q))
            return query, batch.label_N.cpu()[torch.from_numpy(at_Q)], torch.ones(len(row_Q))
        count_Q = self.count_M[row_Q].astype(np.int64)
        query_L = np.repeat(np.arange(len(row_Q)), count_Q)
        at_L = np.arange(len(query_L)) + np.repeat(self.lo_M[row_Q] - (np.cumsum(count_Q) - count_Q), count_Q)
        weight_L = (count_Q ** (self.power - 1) / self.usual).astype(np.float32)[query_L]
        labels = self.class_T[at_L].astype(np.int64)
        return torch.from_numpy(query_L), torch.from_numpy(labels), torch.from_numpy(weight_L)

    def loss(self, x_PD: Tensor, batch: Batch, network: SequenceNetwork, plan: Plan, scale: float, seed: int) -> Tensor:
        """Cross-entropy over the catalogue against the baskets, each weighing as `power` says."""
        assert isinstance(batch, AskedBatch)
        asked, weight_VD = batch.asked, network.item.weight
        h_QD = x_PD.index_select(0, asked.slot_Q)
        classes_VD, first = (weight_VD, 1) if self._class_items is None else (weight_VD[self._class_items], 0)
        trust, given_R = h_QD.new_zeros(1, dtype=torch.float32), h_QD.new_zeros(0, dtype=torch.float32)
        query_R = asked.query_L[:0]
        if network.own is not None and asked.pairs is not None:
            trust, given_R = network.own.trust, asked.pairs.logits(network.own, h_QD, weight_VD)
            query_R = asked.pairs.query_R
        loss = basket_cross_entropy(
            h_QD,
            classes_VD,
            trust,
            given_R,
            first=first,
            table_TV=self.table_TC,
            table_Q=asked.table_Q,
            cell_R=(query_R, asked.class_R),
            label_L=(asked.query_L, asked.class_L),
            weight_L=asked.weight_L,
            near=None if network.own is None else network.own.near,
            chunk=plan.chunk,
        )
        return loss * (scale * self.each)

    def measure(
        self, encode: Encode, network: SequenceNetwork, cores: Cores, rank: int, world: int
    ) -> Mapping[str, float]:
        """Ranking figures on the validation requests."""
        assert self.validator is not None
        if network.own is None:
            return super().measure(encode, network, cores, rank, world)
        item_VD, term = network.item.weight.detach(), network.own

        def given(h_BD: Tensor) -> tuple[np.ndarray, np.ndarray, Tensor]:
            asked_R = self.class_V[self.asks.pairs.item_R.numpy()] >= 0
            pairs = self.asks.pairs.only(asked_R)
            moved = pairs.to(h_BD.device)
            with torch.inference_mode():
                logit_R = moved.logits(term, h_BD, item_VD)
                if term.near is not None:
                    logit_R += term.near * (h_BD[moved.query_R].float() * item_VD[moved.item_R].float()).sum(1)
            return self.asks.request_R[asked_R], self.class_V[pairs.item_R.numpy()], logit_R

        bias_TV = term.trust.detach() * torch.from_numpy(self.asks.demand_TSV[:, 0]).to(item_VD.device)
        return self.validator(encode, item_VD, cores, rank, world, (bias_TV, self.asks.table_B), given)
