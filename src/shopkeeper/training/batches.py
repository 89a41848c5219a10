"""The training view of a split, and batches gathered from it by index arithmetic.

What is learned: at each event of a customer, one line of the next step that holds a target event. A step is one order
(rows with the same order code > 0), else a single event. Where that step has several lines, one is drawn per epoch, by
a hash of (seed, epoch, position): the draw depends on neither the batch, nor the device, nor the number of processes.

A batch is a random sample of customers; how it lies in memory, layout.py says.

Shapes: M training rows, B sequences of a batch, N their positions, P positions of all rectangles, padding included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from shopkeeper.data.prepared import Split
from shopkeeper.data.requests import Events, Requests
from shopkeeper.errors import UserError
from shopkeeper.nn.network import Inputs
from shopkeeper.schema import MICROSECONDS_PER_DAY, event_codes
from shopkeeper.training.blocks import Columns, stretches, training_blocks
from shopkeeper.training.layout import Layout

_PRIME = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Batch(Inputs):
    """One (micro-)batch: what the network reads (P) and what it learns (N)."""

    label_N: Tensor = field(kw_only=True)  # int64 class = position of the item in the catalogue
    layout: Layout = field(kw_only=True)


@dataclass
class TrainingView:
    """Flat arrays of what a split lets a model learn from; windows end at the last event that has a label."""

    item_M: Tensor  # int32
    type_M: Tensor | None  # int8
    label_lo_M: Tensor  # int32 / int64: lines of the next target step are label_class[lo : lo + count]
    label_count_M: Tensor | None  # int32; None where every step is a single event
    label_class_T: Tensor  # int32
    start_U: np.ndarray  # int64: window of each customer who has anything to learn from
    length_U: np.ndarray  # int64
    catalogue: np.ndarray  # int32: class -> item
    max_length: int
    time_M: Tensor | None = None  # int64 µs; only for networks that read ages

    def __len__(self) -> int:
        return len(self.start_U)

    @property
    def n_positions(self) -> int:
        """Target positions of one epoch."""
        return int(self.length_U.sum())

    @property
    def bytes(self) -> int:
        """Size of the flat arrays."""
        parts = (self.item_M, self.type_M, self.time_M, self.label_lo_M, self.label_count_M, self.label_class_T)
        return sum(p.numel() * p.element_size() for p in parts if p is not None)

    @classmethod
    def build(
        cls,
        split: Split,
        target_events: Sequence[str],
        inputs: str = "all",
        max_length: int = 200,
        folder: Path | None = None,
        reads: Sequence[str] = ("type",),
    ) -> TrainingView:
        """From `split.training_rows()`. `inputs`: `all` event types are read, or only `targets`.

        `reads`: columns that the network looks at beside items and positions (`nn.network.COLUMNS`); no other is kept.

        With `folder` the arrays are written there, block by block, and memory-mapped: for data that does not fit into
        memory. Then nothing of the log's size is held, only of the number of customers and items.
        """
        if inputs not in ("all", "targets"):
            raise UserError(f"inputs={inputs} is not known; choose inputs=all or inputs=targets")
        codes = event_codes(list(target_events))
        class_of = np.zeros(split.prepared.n_items + 1, np.int32)
        class_of[split.catalogue] = np.arange(len(split.catalogue))
        columns = Columns(folder, split)
        typed, aged = inputs == "all" and "type" in reads, "age" in reads
        if aged and split.prepared.events.timestamp is None:
            raise UserError(
                f"this model reads how long ago events were, and {split.prepared.name} has only their order; "
                f"choose a model that reads the order (model=sasrec) or data with time stamps"
            )
        start_U, length_U, single = [], [], True
        for block in training_blocks(split, codes if inputs == "targets" else None, aged):
            wanted = np.isin(block.event_type, np.asarray(codes, np.int8))
            lo, count, target = next_step_labels(block.offsets, wanted, block.order)
            # the labelled events of a customer are a prefix of the training rows
            known = np.diff(np.append(0, np.cumsum(count > 0))[block.offsets])
            user = np.flatnonzero(known)
            length = np.minimum(known[user], max_length)
            start_U.append(columns.rows["item"] + block.offsets[user] + known[user] - length)
            length_U.append(length)
            single &= bool((count <= 1).all())
            columns.append("lo", lo + columns.rows["class"])
            columns.append("class", class_of[block.item[target]])
            columns.append("count", count)
            columns.append("item", block.item)
            if typed:
                columns.append("type", block.event_type)
            if aged:
                assert block.timestamp is not None
                columns.append("time", block.timestamp)
        start, length = (np.concatenate([np.zeros(0, np.int64), *x]) for x in (start_U, length_U))
        if len(start) == 0:
            raise UserError(
                f"split {split.name} of {split.prepared.name} has nothing to learn from: no customer has a "
                f"{' / '.join(target_events)} after another event; choose other target_events or another split"
            )
        return cls(
            columns.tensor("item"),
            columns.tensor("type") if typed else None,
            columns.tensor("lo"),
            None if single else columns.tensor("count"),
            columns.tensor("class"),
            start,
            length,
            split.catalogue,
            max_length,
            columns.tensor("time") if aged else None,
        )

    def to(self, device: torch.device) -> TrainingView:
        """The same with the flat arrays on `device`."""
        moved = {
            name: None if value is None else value.to(device)
            for name, value in vars(self).items()
            if name.endswith(("_M", "_T"))
        }
        return TrainingView(**{**vars(self), **moved})

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
        length_B = self.length_U[users]
        layout = Layout.of(length_B, edges, home, pad)
        start_B = torch.from_numpy(self.start_U[users]).to(home)
        at_N = start_B[layout.row_N] + layout.column_N
        lo_N = self.label_lo_M[at_N].long()
        if self.label_count_M is not None:
            lo_N = lo_N + _draw(at_N, seed, epoch) % self.label_count_M[at_N].long()
        label_N = self.label_class_T[lo_N].long()
        length_N = torch.from_numpy(length_B).to(home)[layout.row_N]
        item_P = _scatter(self.item_M[at_N], layout)
        type_P = None if self.type_M is None else _scatter(self.type_M[at_N], layout)
        position_P = _scatter(length_N - 1 - layout.column_N, layout)
        age_P = None
        if self.time_M is not None:
            last_B = start_B + torch.from_numpy(length_B - 1).to(home)
            age_P = _scatter(_days(self.time_M[last_B][layout.row_N] - self.time_M[at_N]), layout)
        batch = Batch(item_P, position_P, type_P, age_P, label_N=label_N, layout=layout)
        return batch if device == home else _move(batch, device)


def next_step_labels(
    offsets: np.ndarray, is_target: np.ndarray, order: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the lines of the next target step stand, for every row: lo int64 (M,), count int64 (M,), target rows (T,).

    The lines for row m are `target[lo[m] : lo[m] + count[m]]`; `count` is 0 where no target step follows.

    >>> next_step_labels(np.array([0, 4]), np.array([True, True, True, True]), np.array([0, 7, 7, 0]))
    (array([1, 3, 3, 4]), array([2, 1, 1, 0]), array([0, 1, 2, 3]))
    """
    m = len(is_target)
    new = np.ones(m, bool)
    if order is not None:
        new[1:] = (order[1:] != order[:-1]) | (order[1:] == 0)
    new[offsets[:-1][offsets[:-1] < m]] = True
    step = np.cumsum(new)
    target = np.flatnonzero(is_target)
    step_of_target = step[target]
    lo = np.searchsorted(step_of_target, step, "right")
    found = lo < len(target)
    next_row = target[np.where(found, lo, 0)] if len(target) else np.zeros(m, np.int64)
    user_end = np.repeat(offsets[1:], np.diff(offsets))
    found &= next_row < user_end
    next_step = step[next_row] if m else next_row
    count = np.where(found, np.searchsorted(step_of_target, next_step, "right") - lo, 0)
    return lo, count, target


@dataclass(frozen=True)
class Histories:
    """Usable events of requests: item > 0 and known, of the input types; requests without any are left out."""

    start_R: np.ndarray  # int64 into the kept arrays, one per usable request
    length_R: np.ndarray
    request_R: np.ndarray  # position of each usable request
    item_M: np.ndarray  # int32
    type_M: np.ndarray  # int8
    time_M: np.ndarray  # int64 µs; empty where no ages are read

    @classmethod
    def of(
        cls,
        requests: Requests,
        known_V: np.ndarray,
        types: Sequence[int] | None,
        max_length: int,
        with_time: bool = False,
    ) -> Histories:
        """The last `max_length` usable events of each request; no more than a block of the log is looked at at once."""
        if len(requests) == 0:
            return cls(*(np.zeros(0, t) for t in (np.int64, np.int64, np.int64, np.int32, np.int8, np.int64)))
        if with_time and requests.events.timestamp is None:
            raise UserError("this model reads how long ago events were, and these have no time stamps; give them")
        order = np.argsort(requests.start, kind="stable")
        parts = list(stretches(requests.start[order], requests.end[order], order))
        if len(parts) == 1:
            return cls._of_stretch(requests, np.arange(len(requests)), known_V, types, max_length, with_time)
        pieces = [cls._of_stretch(requests, rows, known_V, types, max_length, with_time) for rows in parts]
        base = np.cumsum([0, *(len(p.item_M) for p in pieces)])
        start_R, length_R, request_R, item_M, type_M, time_M = (
            np.concatenate([getattr(p, f.name) for p in pieces]) for f in fields(cls)
        )
        start_R += np.repeat(base[:-1], [len(p.start_R) for p in pieces])
        back = np.argsort(request_R, kind="stable")
        return cls(start_R[back], length_R[back], request_R[back], item_M, type_M, time_M)

    @classmethod
    def _of_stretch(
        cls,
        requests: Requests,
        rows: np.ndarray,
        known_V: np.ndarray,
        types: Sequence[int] | None,
        max_length: int,
        with_time: bool,
    ) -> Histories:
        """Of the requests `rows`, whose histories lie near each other; only their windows are kept."""
        start_R, end_R = requests.start[rows], np.maximum(requests.end, requests.start)[rows]
        low, high = int(start_R.min()), int(end_R.max())
        events: Events = requests.events
        item, kind = np.asarray(events.item[low:high]), np.asarray(events.event_type[low:high])
        keep = (item > 0) & (item < len(known_V))
        keep &= known_V[np.where(keep, item, 0)]
        if types is not None:
            keep &= np.isin(kind, np.asarray(types, np.int8))
        position = np.append(0, np.cumsum(keep))
        start, end = position[start_R - low], position[end_R - low]
        length = np.minimum(end - start, max_length)
        usable = np.flatnonzero(length > 0)
        begin, length = (end - length)[usable], length[usable]
        item, kind, time = item[keep], kind[keep], np.zeros(0, np.int64)
        if with_time:
            assert events.timestamp is not None
            time = np.asarray(events.timestamp[low:high])[keep]
        if len(rows) < len(requests):  # the stretch is to be forgotten
            at = np.cumsum(length) - length
            window = np.repeat(begin - at, length) + np.arange(length.sum())
            begin, item, kind = at, item[window], kind[window]
            time = time[window] if with_time else time
        return cls(begin, length, rows[usable], item, kind, time)

    def batch(self, rows: np.ndarray, edges: Sequence[int], device: torch.device, reads: Sequence[str]) -> Batch:
        """The histories `rows` (already sorted by length), laid out for the device; labels are empty."""
        layout = Layout.of(self.length_R[rows], edges, torch.device("cpu"))
        length_N = torch.from_numpy(self.length_R[rows])[layout.row_N]
        at_N = (torch.from_numpy(self.start_R[rows])[layout.row_N] + layout.column_N).numpy()
        item_P = _scatter(torch.from_numpy(self.item_M[at_N]), layout)
        type_P = _scatter(torch.from_numpy(self.type_M[at_N]), layout) if "type" in reads else None
        age_P = None
        if "age" in reads:
            newest_N = np.repeat(self.time_M[self.start_R[rows] + self.length_R[rows] - 1], self.length_R[rows])
            age_P = _scatter(_days(torch.from_numpy(newest_N - self.time_M[at_N])), layout)
        position_P = _scatter(length_N - 1 - layout.column_N, layout)
        return _move(Batch(item_P, position_P, type_P, age_P, label_N=length_N[:0], layout=layout), device)


def _scatter(value_N: Tensor, layout: Layout) -> Tensor:
    """Into the slots of the rectangles; codes as int64, ages as they are."""
    value_N = value_N if value_N.is_floating_point() else value_N.long()
    return value_N.new_zeros(layout.n_slots).index_copy_(0, layout.slot_N, value_N)


def _days(microseconds_N: Tensor) -> Tensor:
    """Differences are taken in whole microseconds; only then may they become float32."""
    return (microseconds_N.double() / MICROSECONDS_PER_DAY).float()


def _move(batch: Batch, device: torch.device) -> Batch:
    if batch.item_P.device == device:
        return batch
    lay = batch.layout
    slot_N, row_N, column_N, last_B = (
        t.to(device, non_blocking=True) for t in (lay.slot_N, lay.row_N, lay.column_N, lay.last_B)
    )
    layout = Layout(lay.groups, slot_N, row_N, column_N, last_B, lay.n_slots)
    read = {
        name: getattr(batch, name).to(device, non_blocking=True)
        for name in ("type_P", "age_P")
        if getattr(batch, name) is not None
    }
    item_P, position_P, label_N = (t.to(device) for t in (batch.item_P, batch.position_P, batch.label_N))
    return replace(batch, item_P=item_P, position_P=position_P, label_N=label_N, layout=layout, **read)


def _draw(at_N: Tensor, seed: int, epoch: int) -> Tensor:
    """A number in [0, 2^31) from (seed, epoch, position): splitmix64, the same on every device."""
    x = at_N + _signed((seed * 1_000_003 + epoch + 1) * _PRIME)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * _signed(factor)
    return (x ^ ((x >> 31) & ((1 << 33) - 1))) & (2**31 - 1)


def _signed(x: int) -> int:
    x &= 2**64 - 1
    return x - 2**64 if x >= 2**63 else x
