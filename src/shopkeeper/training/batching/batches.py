"""The training view of a split, and batches gathered from it by index arithmetic.

What is learned: at each event of a customer, one line of the next step that holds a target event. A step is one order
(rows with the same order code > 0), else a single event. Where that step has several lines, one is drawn per epoch, by
a hash of (seed, epoch, position): the draw depends on neither the batch, nor the device, nor the number of processes.

A batch is a random sample of customers; how it lies in memory, layout.py says.

Shapes: M training rows, B sequences of a batch, N their positions, P positions of all rectangles, padding included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from shopkeeper.data.orders import first_lines
from shopkeeper.data.requests import Events
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.nn.network import COLUMNS, Inputs
from shopkeeper.schema import MICROSECONDS_PER_DAY, event_codes
from shopkeeper.training.batching.blocks import Columns, training_blocks
from shopkeeper.training.batching.layout import Layout

_PRIME = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Batch(Inputs):
    """One (micro-)batch: what the network reads (P) and what it learns (N)."""

    label_N: Tensor = field(kw_only=True)  # int64 class = position of the item in the catalogue
    layout: Layout = field(kw_only=True)
    labelled_N: Tensor | None = field(default=None, kw_only=True)  # flat positions of the labels; None: of all events


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
    time_M: Tensor | None = None  # int64 µs; this and the next two only for networks that read them
    price_M: Tensor | None = None  # float32
    channel_M: Tensor | None = None  # int16
    reads: tuple[str, ...] = ("type",)  # what a batch carries

    def __len__(self) -> int:
        return len(self.start_U)

    @property
    def labels_U(self) -> np.ndarray:
        """A label at each position."""
        return self.length_U

    @property
    def bytes(self) -> int:
        """Size of the flat arrays."""
        parts = [value for name, value in vars(self).items() if name.endswith(("_M", "_T")) and value is not None]
        return sum(p.numel() * p.element_size() for p in parts)

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
        class_of = np.full(split.prepared.n_items + 1, -1, np.int32)
        class_of[split.catalogue] = np.arange(len(split.catalogue))
        columns = Columns(folder, split)
        typed = inputs == "all" and "type" in reads
        others = {name: column for name, column in log_columns(reads).items() if name != "type"}
        check_columns(split.prepared.events, reads, split.prepared.name)
        start_U, length_U, single = [], [], True
        for block in training_blocks(split, codes if inputs == "targets" else None, tuple(others.values())):
            wanted = np.isin(block.event_type, np.asarray(codes, np.int8))
            if split.beside is not None:  # what may not be recommended is read, and not learned
                wanted &= class_of[block.item] >= 0
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
            for name, column in others.items():
                columns.append(name, block.columns[column])
        start, length = (np.concatenate([np.zeros(0, np.int64), *x]) for x in (start_U, length_U))
        if len(start) == 0:
            raise UserError(
                f"split {split.name} of {split.prepared.name} has nothing to learn from: no customer has a "
                f"{' / '.join(target_events)} after another event; choose other "
                f"target_events, another split, or a model that reads no sequences (model=recent_popularity)"
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
            **{f"{name}_M": columns.tensor(name) for name in others},
            reads=tuple(reads),
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
            lo_N = lo_N + drawn(at_N, seed, epoch) % self.label_count_M[at_N].long()
        label_N = self.label_class_T[lo_N].long()
        length_N = torch.from_numpy(length_B).to(home)[layout.row_N]
        item_P = scatter(self.item_M[at_N], layout)
        type_P = None if self.type_M is None else scatter(self.type_M[at_N], layout)
        position_P = scatter(length_N - 1 - layout.column_N, layout)
        others: dict[str, Tensor] = {}
        if self.time_M is not None and "age" in self.reads:
            last_B = start_B + torch.from_numpy(length_B - 1).to(home)
            others["age_P"] = scatter(days(self.time_M[last_B][layout.row_N] - self.time_M[at_N]), layout)
        if self.time_M is not None and "since" in self.reads:
            before_N = self.time_M[at_N - (layout.column_N > 0).long()]
            others["since_P"] = scatter(days(self.time_M[at_N] - before_N), layout)
        if self.time_M is not None and "until" in self.reads:  # a labelled event has one after it
            others["until_P"] = scatter(days(self.time_M[at_N + 1] - self.time_M[at_N]), layout)
        if self.price_M is not None:
            others["price_P"] = scatter(self.price_M[at_N].nan_to_num(), layout)
        if self.channel_M is not None:
            others["channel_P"] = scatter(self.channel_M[at_N], layout)
        batch = Batch(item_P, position_P, type_P, label_N=label_N, layout=layout, **others)
        return batch if device == home else move(batch, device)


def next_step_labels(
    offsets: np.ndarray, is_target: np.ndarray, order: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the lines of the next target step stand, for every row: lo int64 (M,), count int64 (M,), target rows (T,).

    The next step is the first one that begins after the row: a line of an order that had begun before is no longer new.
    The lines for row m are `target[lo[m] : lo[m] + count[m]]`; `count` is 0 where no target step follows.

    >>> next_step_labels(np.array([0, 4]), np.array([True, True, True, True]), np.array([0, 7, 7, 0]))
    (array([1, 3, 3, 4]), array([2, 1, 1, 0]), array([0, 1, 2, 3]))
    """
    m = len(is_target)
    head = np.arange(m)
    if order is not None:
        head = first_lines(np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)), order)
    begun = np.cumsum(head == np.arange(m))  # steps that have begun, by row
    target = np.flatnonzero(is_target)
    step_of_target = begun[head[target]]
    if (np.diff(step_of_target) < 0).any():  # orders with others between their lines
        by_step = np.argsort(step_of_target, kind="stable")
        target, step_of_target = target[by_step], step_of_target[by_step]
    lo = np.searchsorted(step_of_target, begun, "right")
    found = lo < len(target)
    next_row = target[np.where(found, lo, 0)] if len(target) else np.zeros(m, np.int64)
    user_end = np.repeat(offsets[1:], np.diff(offsets))
    found &= next_row < user_end
    next_step = begun[head[next_row]] if m else next_row
    count = np.where(found, np.searchsorted(step_of_target, next_step, "right") - lo, 0)
    return lo, count, target


def log_columns(reads: Sequence[str]) -> dict[str, str]:
    """The columns of the log that these columns of a batch come from, by the name that they are kept under."""
    kept = {"age": "time", "since": "time", "until": "time"}
    return {kept.get(name, name): COLUMNS[name] for name in reads}


def check_columns(events: Events, reads: Sequence[str], name: str) -> None:
    """A `UserError` where these events lack a column that a network reads; `name`: whose they are."""
    lacks = {
        "timestamp": ("how long ago events were", "only their order", "time stamps"),
        "price": ("prices", "none", "prices"),
        "channel": ("channels", "none", "channels"),
    }
    for column in dict.fromkeys(log_columns(reads).values()):
        if column in lacks and getattr(events, column) is None:
            what, has, data = lacks[column]
            without = "set model.time=false" if "until" in reads else "choose a model that does not (model=sasrec)"
            raise UserError(f"this model reads {what}, and {name} has {has}; {without} or take data with {data}")


def scatter(value_N: Tensor, layout: Layout) -> Tensor:
    """Into the slots of the rectangles; codes as int64, ages as they are."""
    value_N = value_N if value_N.is_floating_point() else value_N.long()
    return value_N.new_zeros(layout.n_slots).index_copy_(0, layout.slot_N, value_N)


def days(microseconds_N: Tensor) -> Tensor:
    """Days, float32. Differences are taken in whole microseconds; only then may they become float32."""
    return (microseconds_N.double() / MICROSECONDS_PER_DAY).float()


def move(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device."""
    if batch.item_P.device == device:
        return batch
    lay = batch.layout
    slot_N, row_N, column_N, last_B = (
        t.to(device, non_blocking=True) for t in (lay.slot_N, lay.row_N, lay.column_N, lay.last_B)
    )
    layout = Layout(lay.groups, slot_N, row_N, column_N, last_B, lay.n_slots)
    read = {
        name: getattr(batch, name).to(device, non_blocking=True)
        for name in (f"{column}_P" for column in COLUMNS)
        if getattr(batch, name) is not None
    }
    item_P, position_P, label_N = (t.to(device) for t in (batch.item_P, batch.position_P, batch.label_N))
    if batch.labelled_N is not None:
        read["labelled_N"] = batch.labelled_N.to(device)
    return replace(batch, item_P=item_P, position_P=position_P, label_N=label_N, layout=layout, **read)


def drawn(at_N: Tensor, seed: int, epoch: int) -> Tensor:
    """A number in [0, 2^31) from (seed, epoch, position): splitmix64, the same on every device."""
    x = at_N + _signed((seed * 1_000_003 + epoch + 1) * _PRIME)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * _signed(factor)
    return (x ^ ((x >> 31) & ((1 << 33) - 1))) & (2**31 - 1)


def _signed(x: int) -> int:
    x &= 2**64 - 1
    return x - 2**64 if x >= 2**63 else x
