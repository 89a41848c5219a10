"""A log that need not fit into memory, read some customers at a time.

Shapes: U customers, R requests.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.files import write_error

BLOCK_ROWS = 1 << 22  # rows of the log that are looked at together


@dataclass(frozen=True)
class TrainingRows:
    """The training rows of some customers next to each other: copies, in memory."""

    offsets: np.ndarray  # int64: rows of the block's customer u are offsets[u]:offsets[u+1]
    item: np.ndarray  # int32
    event_type: np.ndarray  # int8
    order: np.ndarray | None  # int32
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)  # others of the log that were asked for, by name


def training_blocks(
    split: Split, event_types: Sequence[int] | None = None, columns: Sequence[str] = ()
) -> Iterator[TrainingRows]:
    """`split.training_rows(event_types)` for some customers at a time, so many as have `BLOCK_ROWS` rows of the log.

    `columns`: of `data.requests.Events`, such as `timestamp`, that come along.
    """
    offsets, events = split.prepared.offsets, split.prepared.events
    known = np.zeros(split.prepared.n_items + 1, bool)
    known[split.known] = True
    first, n = 0, len(offsets) - 1
    while first < n:
        last = max(int(np.searchsorted(offsets, offsets[first] + BLOCK_ROWS, "right")) - 1, first + 1)
        low, high = int(offsets[first]), int(offsets[last])
        item, kind = np.array(events.item[low:high]), np.array(events.event_type[low:high])
        end = np.repeat(split.train_end[first:last], np.diff(offsets[first : last + 1]))
        keep = (np.arange(low, high) < end) & known[item]
        if event_types is not None:
            keep &= np.isin(kind, np.asarray(event_types, np.int8))
        order = None if events.order is None else events.order[low:high][keep]
        others = {name: getattr(events, name)[low:high][keep] for name in columns}
        position = np.append(0, np.cumsum(keep))
        yield TrainingRows(position[offsets[first : last + 1] - low], item[keep], kind[keep], order, others)
        first = last


def seen_in_training(split: Split, codes: list[int]) -> tuple[list[int], np.ndarray]:
    """Event types of the training rows, and target events per item: float32 (V,)."""
    kinds: set[int] = set()
    count_V = np.zeros(split.prepared.n_items + 1, np.int64)
    for block in training_blocks(split):
        kinds |= set(np.unique(block.event_type).tolist())
        count_V += np.bincount(block.item[np.isin(block.event_type, codes)], minlength=len(count_V))
    return sorted(kinds), count_V.astype(np.float32)


def warm_only(split: Split) -> Split:
    """The split with a catalogue of items that have training rows."""
    warm_V = np.zeros(split.prepared.n_items + 1, bool)
    for block in training_blocks(split):
        warm_V[block.item] = True
    return replace(split, catalogue=split.catalogue[warm_V[split.catalogue]])


def stretches(start_R: np.ndarray, end_R: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Cut `rows`, sorted by `start_R`, so that the ranges of a part span `BLOCK_ROWS` rows of the log (or are one)."""
    first, n = 0, len(rows)
    reach_R = np.maximum.accumulate(end_R)
    while first < n:
        last = max(int(np.searchsorted(reach_R, start_R[first] + BLOCK_ROWS, "right")), first + 1)
        yield rows[first:last]
        first = last


class Columns:
    """Flat arrays that grow block by block, in memory or in files as long as the training rows can be."""

    DTYPES: ClassVar[dict[str, type]] = {
        "item": np.int32, "type": np.int8, "time": np.int64, "price": np.float32, "channel": np.int16,
        "count": np.int32, "class": np.int32,
    }  # fmt: skip

    def __init__(self, folder: Path | None, split: Split):
        self.folder = folder
        self.limit = int((split.train_end - split.prepared.offsets[:-1]).sum())
        self.rows = dict.fromkeys((*self.DTYPES, "lo"), 0)
        self.parts: dict[str, list[np.ndarray]] = {name: [] for name in self.rows}

    def append(self, name: str, values: np.ndarray) -> None:
        """Add the values of a block."""
        values = values.astype(self.DTYPES.get(name, np.int32 if self.limit < 2**31 else np.int64))
        n = self.rows[name]
        self.rows[name] = n + len(values)
        if self.folder is None:
            self.parts[name].append(values)
            return
        path = self.folder / f"{name}.npy"
        if n == 0:
            _create(path, values.dtype, max(self.limit, 1))
        mapped = np.load(path, mmap_mode="r+", allow_pickle=False)
        mapped[n : n + len(values)] = values

    def tensor(self, name: str) -> Tensor:
        """All of a column."""
        if self.folder is None:
            return torch.from_numpy(np.concatenate(self.parts.pop(name)))
        # mode c: PyTorch wants arrays that may be written; nobody does
        mapped: np.ndarray = np.load(self.folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)
        return torch.from_numpy(mapped[: self.rows[name]])


def _create(path: Path, dtype: np.dtype, rows: int) -> None:
    """An array in a file that has its room on the disk: to find none later, in a mapped file, kills the process."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.lib.format.open_memmap(path, "w+", dtype, (rows,))
        if hasattr(os, "posix_fallocate"):
            with open(path, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as e:
        if e.errno in (errno.EOPNOTSUPP, errno.EINVAL):
            return  # a disk that reserves nothing
        e.filename = str(path)
        if said := write_error(e):
            raise UserError(said) from e
        raise
