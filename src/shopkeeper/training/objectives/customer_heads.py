"""Heads for customer tasks as an objective: at each instant that is asked about, an answer to each task.

A network that does not look ahead (`SequenceNetwork.looks_ahead`) reads a customer's history once and is asked at all
instants there are; of any other, each instant is a sequence of its own. Which epoch is best is judged on customers who
are held out, at the same instants.

Shapes: n questions (customer, instant), H heads, U sequences, J questions of a batch, M rows of the log, D width.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shopkeeper.errors import UserError
from shopkeeper.metrics.parallel import Cores
from shopkeeper.nn.heads import Heads
from shopkeeper.nn.network import SequenceNetwork
from shopkeeper.training.batching.batches import Batch, days
from shopkeeper.training.batching.histories import Histories
from shopkeeper.training.config import Plan, Recipe
from shopkeeper.training.devices import memory
from shopkeeper.training.devices.execution import edges_up_to
from shopkeeper.training.validation import Encode, encode_all, gather

COLUMN = "column "  # before the name of a column among the arrays
CHECKED = 16  # sequences on which a network is held to what it says of itself


@dataclass(frozen=True)
class Questions:
    """Customers at instants, and what is known of them: the history of question j is rows start[j]:end[j]."""

    item: np.ndarray  # int32 (M,) numbers of the network
    columns: Mapping[str, np.ndarray]  # (M,) `timestamp`, and what else the network reads, by names of `Events`
    start: np.ndarray  # int64 (n,)
    end: np.ndarray  # int64 (n,)
    instant: np.ndarray  # int64 (n,) µs
    label: np.ndarray | None = None  # float32 (n, H), NaN where it is not known

    def __len__(self) -> int:
        return len(self.start)

    def of(self, rows: np.ndarray) -> Questions:
        """Some of them."""
        label = None if self.label is None else self.label[rows]
        return Questions(self.item, self.columns, self.start[rows], self.end[rows], self.instant[rows], label)

    def since(self) -> np.ndarray:
        """Days from the last event to the instant: float32 (n,); 0 where there is none."""
        time, some = self.columns["timestamp"], self.end > self.start
        last = np.where(some, time[np.maximum(self.end - 1, 0)] if len(time) else 0, self.instant)
        return days(torch.from_numpy(self.instant - last)).numpy()

    def alone(self, max_length: int) -> Histories:
        """Each with its newest events as a sequence of its own; those without any are left out."""
        length = np.minimum(self.end - self.start, max_length)
        some = np.flatnonzero(length > 0)
        return Histories((self.end - length)[some], length[some], some, self.item, self.columns, self.instant[some])


@dataclass(frozen=True)
class Asked(Batch):
    """A batch with what is asked of its sequences."""

    slot_J: Tensor = field(kw_only=True)  # int64 flat position of the last event before the instant
    since_J: Tensor = field(kw_only=True)  # float32 days from there to the instant
    label_JH: Tensor = field(kw_only=True)  # float32, NaN where it is not known


def window_ends(start: np.ndarray, end: np.ndarray, max_length: int) -> np.ndarray:
    """Where the sequence ends in which each question is asked, int64 (n,): several of a customer share one.

    From the newest down. A question that would see less than half of `max_length` events there, and could see more,
    begins a sequence of its own.

    >>> window_ends(np.array([0, 0, 0]), np.array([3, 9, 10]), 4)
    array([ 3, 10, 10])
    """
    order = np.lexsort((-end, start))
    first = np.flatnonzero(np.append(True, np.diff(start[order]) != 0)[: len(order)])
    counts = np.diff(np.append(first, len(order)))
    found, current = np.empty_like(end), end[order][first]
    for place in range(int(counts.max(initial=0))):  # as many rounds as a customer has instants
        here = np.flatnonzero(counts > place)
        rows = order[first[here] + place]
        low = np.maximum(current[here] - max_length, start[rows])
        enough = (low == start[rows]) | (end[rows] - low >= (max_length + 1) // 2)
        current[here] = np.where(enough, current[here], end[rows])
        found[rows] = current[here]
    return found


class CustomerHeads:
    """An `Objective`: summed negative log-likelihood of every task whose label is known.

    `heads`: names of the tasks; `held_out`: bool (n,), questions that are judged by and not learned from; `kinds`: of
    heads, as `nn.heads` has them; None: all are probabilities.
    """

    lower_is_better = True
    negatives = 0
    rows = 0  # it is all in memory

    def __init__(
        self, heads: Sequence[str], questions: Questions, held_out: np.ndarray, kinds: Sequence[str] | None = None
    ):
        assert questions.label is not None
        self.kinds = ("probabilities",) * len(heads) if kinds is None else tuple(kinds)
        self.heads, self.questions, self.held_out = tuple(heads), questions, held_out
        self.n_classes = len(self.heads)
        self.bytes = sum(a.nbytes for a in self.arrays().values())
        self.batch_size = 512
        self.judged: Questions | None = None
        self.asked_alone: Any = None  # Histories of those, once `ready`

    def identity(self) -> dict[str, Any]:
        """The tasks, and a hash of all that is learned from and judged by."""
        digest = hashlib.sha256()
        for name, values in sorted(self.arrays().items()):
            digest.update(f"{name} {values.dtype} {values.shape}".encode() + np.ascontiguousarray(values).tobytes())
        return {**self.told(), "data": digest.hexdigest()[:16]}

    def told(self) -> dict[str, Any]:
        """The tasks, and what is said of them where it is not a probability of each."""
        kinds = {"kinds": list(self.kinds)} if set(self.kinds) != {"probabilities"} else {}
        return {"heads": list(self.heads), **kinds}

    def arrays(self) -> dict[str, np.ndarray]:
        """The questions and their histories."""
        q = self.questions
        assert q.label is not None
        plain = {"item": q.item, "start": q.start, "end": q.end, "instant": q.instant, "label": q.label}
        return plain | {COLUMN + k: v for k, v in q.columns.items()} | {"held_out": self.held_out}

    @classmethod
    def made_again(cls, told: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> CustomerHeads:
        """As `told` and `arrays` say."""
        columns = {k.removeprefix(COLUMN): v for k, v in arrays.items() if k.startswith(COLUMN)}
        plain = {k: arrays[k] for k in ("item", "start", "end", "instant", "label")}
        return cls(told["heads"], Questions(columns=columns, **plain), arrays["held_out"], told.get("kinds"))

    def furnish(self, network: SequenceNetwork) -> None:
        """Heads, one for each task."""
        network.heads = Heads(network.shape.width, self.kinds)

    def open(self, network: SequenceNetwork, recipe: Recipe, folder: Path | None) -> None:
        """Lay the questions that are learned from along their sequences."""
        label = self.questions.label
        assert label is not None
        known = ~np.isnan(label).all(axis=1)
        length, self.reads = network.shape.max_length, network.reads
        q = self.questions.of(np.flatnonzero(known & ~self.held_out & (self.questions.end > self.questions.start)))
        assert q.label is not None
        stop = q.end if network.looks_ahead else window_ends(q.start, q.end, length)
        # by sequence; of a network that looks ahead, questions never share one
        key = np.arange(len(q)) if network.looks_ahead else q.start * (len(q.item) + 1) + stop
        _, one, of = np.unique(key, return_index=True, return_inverse=True)
        begin_U = np.maximum(q.start, stop - length)[one]
        self.length_U = stop[one] - begin_U
        self.learned = Histories(begin_U, self.length_U, np.arange(len(one)), q.item, q.columns, q.instant[one])
        order = np.argsort(of, kind="stable")
        self.count_U = np.bincount(of, minlength=len(one))
        self.first_U = np.cumsum(self.count_U) - self.count_U
        self.column_n = (q.end - 1 - begin_U[of])[order]  # place of the last event before the instant
        self.since_n, self.label_nH = q.since()[order], q.label[order]
        self.labels_U = np.bincount(of[order], (~np.isnan(self.label_nH)).sum(axis=1), len(one)).astype(np.int64)

        if not network.looks_ahead:
            self._check_that_it_looks_back(network)

    @torch.no_grad()
    def _check_that_it_looks_back(self, network: SequenceNetwork) -> None:
        """Ask some sequences with several questions also one by one: what follows an instant must change nothing.

        Else a label would be told by how much of the history stands behind it.
        """
        some = np.flatnonzero(self.count_U > 1)[:CHECKED]
        some = some[np.argsort(self.length_U[some], kind="stable")]
        if len(some) == 0:
            return
        training, cpu, edges = network.training, torch.device("cpu"), edges_up_to(network.shape.max_length)
        network.eval()

        def vectors(histories: Histories, rows: np.ndarray) -> tuple[Tensor, Batch]:
            batch = histories.batch(rows, edges, cpu, self.reads)
            out: Tensor = network(network.embed(batch), batch.layout.groups)
            return out, batch

        x_PD, batch = vectors(self.learned, some)
        before_B = np.cumsum(self.length_U[some]) - self.length_U[some]
        whole_JD = x_PD[batch.layout.slot_N[torch.from_numpy(before_B + self.column_n[self.first_U[some]])]]
        # the same questions, the first of each sequence, in sequences that end there
        cut = self.column_n[self.first_U[some]] + 1
        order = np.argsort(cut, kind="stable")
        short = replace(self.learned, start_R=self.learned.start_R[some][order], length_R=cut[order])
        x_PD, batch = vectors(short, np.arange(len(order)))
        network.train(training)
        if not torch.allclose(x_PD[batch.layout.last_B], whole_JD[torch.from_numpy(order)], atol=1e-4):
            raise UserError(
                f"{type(network).__name__} says looks_ahead = False, and its vectors change with what follows them: it "
                f"would be told how customers go on; leave looks_ahead at True"
            )

    def ready(self, network: SequenceNetwork, plan: Plan, device: torch.device, limit: int) -> None:
        """Lay out the questions that are held out, or a fixed sample of them."""
        self.device, self.edges = device, plan.edges
        rows = np.flatnonzero(self.held_out & (self.questions.end > self.questions.start))
        if len(rows) > limit:
            rows = np.sort(rows[np.random.default_rng(0).permutation(len(rows))[:limit]])
        self.judged = self.questions.of(rows) if len(rows) else None
        self.asked_alone = None if self.judged is None else self.judged.alone(network.shape.max_length)

    @property
    def named(self) -> str:
        """What the loss is called: of probabilities alone it is log loss."""
        return "loss" if "kinds" in self.told() else "log_loss"

    @property
    def headline(self) -> str | None:
        """Loss on customers who are held out, mean over tasks."""
        return None if self.judged is None else self.named

    def show(self, users: np.ndarray, plan: Plan, seed: int, epoch: int, device: torch.device) -> Asked:
        """These sequences with all that is asked of them."""
        users = users[np.argsort(self.length_U[users], kind="stable")]
        batch = self.learned.batch(users, plan.edges, device, self.reads)
        count = self.count_U[users]
        row_J = np.repeat(np.arange(len(users)), count)
        at_J = np.arange(len(row_J)) + np.repeat(self.first_U[users] - (np.cumsum(count) - count), count)
        begin_B = np.cumsum(self.length_U[users]) - self.length_U[users]

        def here(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values).to(device)

        return Asked(
            **vars(batch),
            slot_J=batch.layout.slot_N[here(begin_B[row_J] + self.column_n[at_J])],
            since_J=here(self.since_n[at_J]),
            label_JH=here(self.label_nH[at_J]),
        )

    def loss(self, x_PD: Tensor, batch: Batch, network: SequenceNetwork, plan: Plan, scale: float, seed: int) -> Tensor:
        """Negative log-likelihood of the labels that are known."""
        assert isinstance(batch, Asked)
        out_JW = network.heads(x_PD.index_select(0, batch.slot_J), batch.since_J).float()
        lost: Tensor = network.heads.loss(out_JW, batch.label_JH)
        return lost.nansum() * scale

    def measure(
        self, encode: Encode, network: SequenceNetwork, cores: Cores, rank: int, world: int
    ) -> Mapping[str, float]:
        """Loss over the questions that are held out; with several tasks also of each."""
        q = self.judged
        assert q is not None
        assert q.label is not None
        n = len(q)
        mine = slice(n * rank // world, n * (rank + 1) // world)
        size, device, width = max(self.batch_size // cores.n, 1), self.device, network.shape.width
        with torch.inference_mode():
            vector_nD, _ = encode_all(
                encode, self.asked_alone, n, self.edges, device, self.reads, width, size, cores, mine
            )
            since_n, label_nH = (torch.from_numpy(a[mine]).to(device) for a in (q.since(), q.label))
            lost = network.heads.loss(network.heads(vector_nD[mine], since_n).double(), label_nH.double()).cpu().numpy()
        lost_nH = gather(lost, world)
        of_task = [math.fsum(x[~np.isnan(x)]) / max((~np.isnan(x)).sum(), 1) for x in lost_nH.T]
        figures = {self.named: math.fsum(of_task) / len(of_task)}
        if len(self.heads) > 1:
            figures |= {f"{self.named}_{name}": value for name, value in zip(self.heads, of_task, strict=True)}
        return figures

    def fewer(self) -> None:
        """Half as many questions at a time."""
        self.batch_size = memory.halve(self.batch_size, "question")
