"""The training view of what is hidden, and batches from it: windows of a customer's events with masks among them.

What may be hidden are target events, a step at a time: all lines of one order, else a single event, so that a basket
does not tell of itself. What is hidden in an epoch says a hash of (seed, epoch, step), which depends on neither the
batch, nor the device, nor the number of processes. Windows end at the last target event: with the last step alone
hidden, the network sees what it sees when it is asked what comes next.

Shapes: M training rows, U customers, B sequences of a batch, N their positions, P positions of all rectangles, padding
included, V items + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shopkeeper.data.orders import first_lines
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.nn.network import SequenceNetwork
from shopkeeper.schema import event_codes
from shopkeeper.training.batching.batches import Batch, drawn, move, scatter
from shopkeeper.training.batching.blocks import Columns, training_blocks
from shopkeeper.training.batching.layout import Layout

MOST = 2**31  # above every draw


@dataclass
class ClozeView:
    """Flat arrays of what a split lets a model learn from, of customers with two events and a target event or more."""

    item_M: Tensor  # int32
    type_M: Tensor | None  # int8
    step_M: Tensor  # int32 / int64: a number for each step with target events, on its target rows; else 0
    class_V: Tensor  # int64: item -> class
    start_U: np.ndarray  # int64: window of each customer
    length_U: np.ndarray  # int64
    labels_U: np.ndarray  # float64: how many events are hidden on average
    catalogue: np.ndarray  # int32: class -> item
    mask: int
    masked: float  # see `nn.networks.bert4rec.BERT4RecShape`
    masked_last: float

    @property
    def bytes(self) -> int:
        """Size of the flat arrays."""
        parts = (self.item_M, self.step_M, self.class_V, *([] if self.type_M is None else [self.type_M]))
        return sum(p.numel() * p.element_size() for p in parts)

    @property
    def label_class_T(self) -> Tensor:
        """The classes of all target events."""
        return self.class_V[self.item_M[self.step_M > 0].long()]

    @classmethod
    def build(
        cls,
        split: Split,
        target_events: Sequence[str],
        inputs: str,
        network: SequenceNetwork,
        folder: Path | None = None,
    ) -> ClozeView:
        """From `split.training_rows()`; with `folder` the arrays are files there, as of `TrainingView.build`."""
        shape = network.shape
        assert set(network.reads) <= {"type"}, "what is hidden has no time, price or channel"
        if inputs not in ("all", "targets"):
            raise UserError(f"inputs={inputs} is not known; choose inputs=all or inputs=targets")
        codes = event_codes(list(target_events))
        class_V = np.zeros(split.prepared.n_items + 1, np.int64)
        class_V[split.catalogue] = np.arange(len(split.catalogue))
        columns, typed = Columns(folder, split), inputs == "all" and "type" in network.reads
        windows: list[np.ndarray] = []
        for block in training_blocks(split, codes if inputs == "targets" else None):
            wanted = np.isin(block.event_type, np.asarray(codes, np.int8))
            if split.beside is not None:  # what may not be recommended is read, and not learned
                wanted &= np.isin(block.item, split.catalogue)
            base = columns.rows["item"]
            step = np.where(wanted, base + 1 + _steps(block.offsets, block.order), 0)
            windows.append(_windows(block.offsets, step, shape) + [[base], [0], [0]])
            columns.append("lo", step)
            columns.append("item", block.item)
            if typed:
                columns.append("type", block.event_type)
        start, length, labels = np.concatenate([np.zeros((3, 0)), *windows], 1)
        if len(start) == 0:
            raise UserError(
                f"split {split.name} of {split.prepared.name} has nothing to learn from: no customer has a "
                f"{' / '.join(target_events)} beside another event; choose other "
                f"target_events, another split, or a model that reads no sequences (model=recent_popularity)"
            )
        return cls(
            columns.tensor("item"),
            columns.tensor("type") if typed else None,
            columns.tensor("lo"),
            torch.from_numpy(class_V),
            start.astype(np.int64),
            length.astype(np.int64),
            labels,
            split.catalogue,
            network.mask,
            shape.masked,
            shape.masked_last,
        )

    def to(self, device: torch.device) -> ClozeView:
        """The same with the flat arrays on `device`."""
        kind = None if self.type_M is None else self.type_M.to(device)
        moved = (self.item_M.to(device), self.step_M.to(device), self.class_V.to(device))
        return replace(self, item_M=moved[0], step_M=moved[1], class_V=moved[2], type_M=kind)

    def batch(
        self,
        users: np.ndarray,
        edges: Sequence[int],
        seed: int,
        epoch: int,
        device: torch.device | None = None,
        pad: int = 1,
    ) -> Batch:
        """The batch of these customers (positions 0..len-1 of the view), laid out for the device."""
        home = self.item_M.device
        device = device or home
        users = users[np.argsort(self.length_U[users], kind="stable")]
        length_B = torch.from_numpy(self.length_U[users]).to(home)
        start_B = torch.from_numpy(self.start_U[users]).to(home)
        layout = Layout.of(self.length_U[users], edges, home, pad)
        row_N = layout.row_N
        at_N = start_B[row_N] + layout.column_N
        item_N = self.item_M[at_N].long()
        last_B = self.step_M[start_B + length_B - 1].long()
        hidden_N = self._hidden(self.step_M[at_N].long(), row_N, last_B, seed, epoch)
        at_A = hidden_N.nonzero()[:, 0]
        batch = Batch(
            scatter(item_N.masked_fill(hidden_N, self.mask), layout),
            scatter(length_B[row_N] - 1 - layout.column_N, layout),
            None if self.type_M is None else scatter(self.type_M[at_N].masked_fill(hidden_N, 0), layout),
            label_N=self.class_V[item_N[at_A]],
            layout=layout,
            labelled_N=layout.slot_N[at_A],
        )
        return batch if device == home else move(batch, device)

    def _hidden(self, step_N: Tensor, row_N: Tensor, last_B: Tensor, seed: int, epoch: int) -> Tensor:
        """Which positions are hidden, bool (N,): steps with a low draw and the one with the lowest, or the last."""
        draw_N = drawn(step_N, seed, epoch).masked_fill(step_N == 0, MOST)
        least_B = torch.full_like(last_B, MOST).scatter_reduce(0, row_N, draw_N, "amin")
        some_N = (draw_N < round(self.masked * MOST)) | (draw_N == least_B[row_N])
        alone_B = drawn(-last_B, seed, epoch) < round(self.masked_last * MOST)
        return torch.where(alone_B[row_N], step_N == last_B[row_N], some_N)


def _steps(offsets: np.ndarray, order: np.ndarray | None) -> np.ndarray:
    """The first row of each row's step: int64 (M,)."""
    n = int(offsets[-1])
    if order is None:
        return np.arange(n)
    return first_lines(np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)), order)


def _windows(offsets: np.ndarray, step: np.ndarray, shape: Any) -> np.ndarray:
    """Begin, length and mean number of hidden events of each customer's window: float64 (3, U). `step`: 0 for others.

    Of n target events in k steps, with a chance p each and one step where the draws have hidden none, p n + (1 - p)^k
    n / k are hidden on average; with the last step alone hidden, its m.
    """
    target = np.flatnonzero(step)
    past = np.searchsorted(target, offsets[1:])  # how many target rows there are until a customer's end
    user = np.flatnonzero(past > np.searchsorted(target, offsets[:-1]))
    end = target[past[user] - 1] + 1
    start = np.maximum(offsets[user], end - shape.max_length)
    some = end - start >= 2  # a mask alone would learn what is popular
    start, end = start[some], end[some]
    low, high = np.searchsorted(target, start), np.searchsorted(target, end)
    n = high - low
    number = step[target]
    runs = np.append(0, np.cumsum(np.diff(number, prepend=0) != 0))  # of rows of one step: a torn order counts twice
    k = runs[high] - runs[low + 1] + 1 if len(n) else n
    owner = np.repeat(np.arange(len(n)), n)
    of_window = np.arange(len(owner)) + np.repeat(low - (np.cumsum(n) - n), n)
    m = np.bincount(owner, number[of_window] == number[high[owner] - 1], len(n)) if len(n) else n
    p, q = shape.masked, shape.masked_last
    return np.stack([start, end - start, (1 - q) * (p * n + (1 - p) ** k * n / np.maximum(k, 1)) + q * m])
