"""Histories of requests as batches: what a sequence network is asked about, with the columns that it reads.

Shapes: R usable requests, M rows of their windows, N positions of a batch, P positions of all rectangles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shopkeeper.data.requests import Events, Requests
from shopkeeper.errors import UserError
from shopkeeper.nn.network import COLUMNS
from shopkeeper.training.batching.batches import Batch, check_columns, days, log_columns, move, scatter
from shopkeeper.training.batching.blocks import stretches
from shopkeeper.training.batching.layout import Layout


@dataclass(frozen=True)
class Histories:
    """Usable events of requests: item > 0 and known, of the input types; requests without any are left out."""

    start_R: np.ndarray  # int64 into the kept arrays, one per usable request
    length_R: np.ndarray
    request_R: np.ndarray  # position of each usable request
    item_M: np.ndarray  # int32
    columns: Mapping[str, np.ndarray]  # (M,) columns of the log that the network reads, by their own names
    instant_R: np.ndarray | None = None  # int64 µs, where what is read depends on when it is asked
    mask: int = 0  # what stands behind each history (`nn.network.SequenceNetwork.mask`); 0: nothing

    @classmethod
    def of(
        cls,
        requests: Requests,
        known_V: np.ndarray,
        types: Sequence[int] | None,
        max_length: int,
        reads: Sequence[str] = (),
        mask: int = 0,
    ) -> Histories:
        """The last `max_length` usable events of each request; no more than a block of the log is looked at at once."""
        names = tuple(dict.fromkeys(log_columns(reads).values()))
        if len(requests) == 0:
            none = np.zeros(0, np.int64)
            return cls(none, none, none, np.zeros(0, np.int32), dict.fromkeys(names, none), none, mask)
        check_columns(requests.events, reads, "this history")
        if "until" in reads and requests.instant is None:
            raise UserError("this model reads when it is asked; say it (an instant with each request, as_of=…)")
        order = np.argsort(requests.start, kind="stable")
        parts = list(stretches(requests.start[order], requests.end[order], order))
        if len(parts) == 1:
            parts = [np.arange(len(requests))]
        pieces = [cls._of_stretch(requests, rows, known_V, types, max_length, names) for rows in parts]
        base = np.cumsum([0, *(len(p.item_M) for p in pieces)])
        start_R, length_R, request_R, item_M = (
            np.concatenate([getattr(p, name) for p in pieces])
            for name in ("start_R", "length_R", "request_R", "item_M")
        )
        columns = {name: np.concatenate([p.columns[name] for p in pieces]) for name in names}
        start_R = start_R + np.repeat(base[:-1], [len(p.start_R) for p in pieces])
        back = np.argsort(request_R, kind="stable")
        instant_R = requests.instant[request_R[back]] if "until" in reads and requests.instant is not None else None
        return cls(start_R[back], length_R[back], request_R[back], item_M, columns, instant_R, mask)

    @classmethod
    def _of_stretch(
        cls,
        requests: Requests,
        rows: np.ndarray,
        known_V: np.ndarray,
        types: Sequence[int] | None,
        max_length: int,
        names: Sequence[str],
    ) -> Histories:
        """Of the requests `rows`, whose histories lie near each other; only their windows are kept."""
        start_R, end_R = requests.start[rows], np.maximum(requests.end, requests.start)[rows]
        low, high = int(start_R.min()), int(end_R.max())
        events: Events = requests.events
        item = np.asarray(events.item[low:high])
        keep = (item > 0) & (item < len(known_V))
        keep &= known_V[np.where(keep, item, 0)]
        if types is not None:
            keep &= np.isin(events.event_type[low:high], np.asarray(types, np.int8))
        position = np.append(0, np.cumsum(keep))
        start, end = position[start_R - low], position[end_R - low]
        length = np.minimum(end - start, max_length)
        usable = np.flatnonzero(length > 0)
        begin, length = (end - length)[usable], length[usable]
        item, columns = item[keep], {name: np.asarray(getattr(events, name)[low:high])[keep] for name in names}
        if len(rows) < len(requests):  # the stretch is to be forgotten
            at = np.cumsum(length) - length
            window = np.repeat(begin - at, length) + np.arange(length.sum())
            begin, item, columns = at, item[window], {name: values[window] for name, values in columns.items()}
        return cls(begin, length, rows[usable], item, columns)

    def batch(self, rows: np.ndarray, edges: Sequence[int], device: torch.device, reads: Sequence[str]) -> Batch:
        """The histories `rows` (already sorted by length), laid out for the device; labels are empty.

        What stands behind a history is a position with the mask as its item, and 0 in all other columns.
        """
        if self.mask:
            return self._masked(rows, edges, device, reads)
        layout = Layout.of(self.length_R[rows], edges, torch.device("cpu"))
        length_N = torch.from_numpy(self.length_R[rows])[layout.row_N]
        at_N = (torch.from_numpy(self.start_R[rows])[layout.row_N] + layout.column_N).numpy()
        last_N = np.repeat(self.start_R[rows] + self.length_R[rows] - 1, self.length_R[rows])
        item_P = scatter(torch.from_numpy(self.item_M[at_N]), layout)
        others: dict[str, Tensor] = {}
        for name in reads:
            values = self.columns[COLUMNS[name]]
            if name == "age":
                others["age_P"] = scatter(days(torch.from_numpy(values[last_N] - values[at_N])), layout)
            elif name == "since":
                before_N = values[at_N - (layout.column_N > 0).numpy()]
                others["since_P"] = scatter(days(torch.from_numpy(values[at_N] - before_N)), layout)
            elif name == "until":
                assert self.instant_R is not None
                asked_N = np.repeat(self.instant_R[rows], self.length_R[rows])
                then_N = np.where(at_N == last_N, asked_N, values[np.minimum(at_N + 1, len(values) - 1)])
                others["until_P"] = scatter(days(torch.from_numpy(then_N - values[at_N])), layout)
            elif name in ("price", "amount", "lines"):
                told_N = np.nan_to_num(values[at_N]).astype(np.float32)
                others[f"{name}_P"] = scatter(torch.from_numpy(told_N), layout)
            else:
                others[f"{name}_P"] = scatter(torch.from_numpy(values[at_N]), layout)
        position_P = scatter(length_N - 1 - layout.column_N, layout)
        return move(Batch(item_P, position_P, label_N=length_N[:0], layout=layout, **others), device)

    def _masked(self, rows: np.ndarray, edges: Sequence[int], device: torch.device, reads: Sequence[str]) -> Batch:
        assert set(reads) <= {"type"}, "what is asked has no time, price or channel yet"
        layout = Layout.of(self.length_R[rows] + 1, edges, torch.device("cpu"))
        length_N = torch.from_numpy(self.length_R[rows])[layout.row_N]
        asked_N = layout.column_N == length_N
        at_N = (torch.from_numpy(self.start_R[rows])[layout.row_N] + layout.column_N - asked_N.long()).numpy()
        item_N = torch.from_numpy(self.item_M[at_N]).masked_fill(asked_N, self.mask)
        others = {
            f"{name}_P": scatter(torch.from_numpy(self.columns[COLUMNS[name]][at_N]).masked_fill(asked_N, 0), layout)
            for name in reads
        }
        position_P = scatter(length_N - layout.column_N, layout)
        return move(Batch(scatter(item_N, layout), position_P, label_N=length_N[:0], layout=layout, **others), device)
