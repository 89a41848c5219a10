"""One division of a prepared dataset into training, validation and test, opened.

Which files there are and what each holds is declared in `layout.py`. As a prepared folder is, a split is read in one
version to the end, each file checked against the hash that `timeline.json` has of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.data.listed import listed
from shopkeeper.data.nightly import Nightly
from shopkeeper.data.offered import told_apart
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.ranges import lower_bound
from shopkeeper.data.requests import Requests, Targets
from shopkeeper.data.stored import array_of, code_type, command_of, place_of, table_of
from shopkeeper.errors import UserError
from shopkeeper.files import read_json
from shopkeeper.hashing import check_hashes, check_seal
from shopkeeper.locks import Held
from shopkeeper.schema import event_codes

BESIDE = "beside.npy"
SPLIT_FILES = ("train_end.npy", "catalogue.npy", "validation.parquet", "test.parquet")
HASHED_SPLIT, SEALED_SPLIT = 3, 4  # the formats since which splits list hashes of files, and have a seal
SPLIT_FORMAT = 4  # of a split folder; a higher number makes older ones be written again


@dataclass(frozen=True)
class Split:
    """One train / validation / test division of a prepared dataset, derived from its timeline."""

    path: Path
    prepared: Prepared
    timeline: dict[str, Any]  # spec, cutoffs, protocol, target hashes, counts, audit
    train_end: np.ndarray  # int64 (n_users,): training rows of user u are offsets[u-1]:train_end[u-1]
    catalogue: np.ndarray  # int32, sorted: the items that may be recommended
    validates: bool = True  # False: its validation part is empty, since those rows are trained on
    beside: np.ndarray | None = None  # int32, sorted: what models know beside it; None where there are no queries
    held: Held | None = field(default=None, repr=False, compare=False, kw_only=True)  # the folder that was opened

    @classmethod
    def open(cls, prepared: Prepared, path: Path) -> Split:
        """Open a split folder; a `UserError` says what is missing, damaged or newer."""
        path, place = Path(path), Path(path)
        command = command_of(prepared.path, prepared.manifest)
        again = f"delete {path} and run {command} with this split again"
        if path.is_relative_to(prepared.path):
            place = prepared.place / path.relative_to(prepared.path)
        try:
            held = Held(place, path)
            if not (held.place / "timeline.json").is_file():
                raise FileNotFoundError
        except OSError:
            raise UserError(f"{path} holds no split (no timeline.json); run {command} with this split") from None
        timeline = read_json(held.place / "timeline.json", path / "timeline.json")
        if not isinstance(timeline, dict):
            raise UserError(f"{path / 'timeline.json'} describes no split; {again}")
        if timeline.get("format", 1) > SPLIT_FORMAT:
            raise UserError(f"{path} was written by a newer shopkeeper (format {timeline['format']}); upgrade")
        listed = timeline.get("files") or {}
        check_hashes(held.place, listed, again, path, "timeline.json")
        if timeline.get("format", 1) >= HASHED_SPLIT and (lacks := [f for f in SPLIT_FILES if f not in listed]):
            raise UserError(f"{path / 'timeline.json'} does not list {lacks[0]}, so it cannot be believed; {again}")
        check_seal(timeline, path / "timeline.json", again, timeline.get("format", 1) >= SEALED_SPLIT)
        return cls(
            path,
            prepared,
            timeline,
            array_of(held.place / "train_end.npy", np.int64, path),
            array_of(held.place / "catalogue.npy", np.int32, path),
            beside=array_of(held.place / BESIDE, np.int32, path) if BESIDE in listed else None,
            held=held,
        )

    @classmethod
    def named(cls, prepared: Prepared, folder: str) -> Split:
        """Open `splits/<folder>`; a `UserError` where the name leads elsewhere, or it was made from other data."""
        if Path(folder).name != folder or folder == ".." or "\\" in folder:
            raise UserError(f"{folder!r:.80} is no name of a split of {prepared.path}; train again")
        found = cls.open(prepared, prepared.path / "splits" / folder)
        fingerprint = prepared.manifest.get("fingerprint")
        if found.timeline.get("fingerprint", fingerprint) != fingerprint:
            again = command_of(prepared.path, prepared.manifest)
            raise UserError(f"{found.path} is a split of other data than {prepared.path} holds by now; run {again}")
        return found

    @property
    def name(self) -> str:
        """Folder name, `<split>-<hash8>`."""
        return self.path.name

    @property
    def known(self) -> np.ndarray:
        """The items that models may know and read in histories, int32, sorted: the catalogue and what is beside it."""
        if self.beside is None:
            return self.catalogue
        return np.union1d(self.catalogue, self.beside).astype(np.int32)

    @property
    def protocol(self) -> str:
        """`published` (catalogue from the whole log, as papers do) or `strict` (nothing from after the cutoff)."""
        return str(self.timeline["protocol"])

    def target_hash(self, part: str = "test") -> str:
        """SHA-256 over the sorted (external user, instant, external targets) of a part."""
        return str(self.timeline["target_hash"][part])

    def part(self, name: str) -> tuple[Requests, Targets]:
        """Requests and targets of `validation` or `test`, in file order.

        Where part of the order is known (`split.asks=cart`), its lines stand at the end of the histories.
        """
        if name == "validation" and not self.validates:
            requests, targets = self.part("test")
            return requests[0:0], targets[0:0]
        requests, targets, basket = self.as_written(name)
        return (requests if basket is None else requests.holding(basket)), targets

    def as_written(self, name: str) -> tuple[Requests, Targets, tuple[np.ndarray, np.ndarray] | None]:
        """The same with histories of the log alone, and the rows of each basket beside them (offsets, rows)."""
        table = self.request_table(name)
        targets = table["targets"].combine_chunks()
        rows = table["target_rows"].combine_chunks()

        def column(key: str, dtype: type) -> np.ndarray | None:
            return table[key].to_numpy().astype(dtype, copy=False) if key in table.column_names else None

        def lists(key: str) -> tuple[np.ndarray, np.ndarray] | None:
            if key not in table.column_names:
                return None
            found = table[key].combine_chunks()
            return found.offsets.to_numpy().astype(np.int64), found.values.to_numpy()

        start, end = column("start", np.int64), column("end", np.int64)
        assert start is not None
        assert end is not None
        requests = Requests(
            self.prepared.events,
            start,
            end,
            instant=column("instant", np.int64),
            user=column("user", np.int32),
            channel=column("channel", code_type(len(self.prepared.manifest.get("channels") or ()))),
            candidates=self._of_pages(table),
            nightly=self.nightly,
            barred=lists("barred"),
        )
        happened = Targets(
            targets.offsets.to_numpy().astype(np.int64),
            targets.values.to_numpy().astype(np.int32),
            rows.values.to_numpy().astype(np.int64),
            _lines(table),
        )
        return requests, happened, lists("basket_rows")

    def _of_pages(self, table: pa.Table) -> tuple[np.ndarray, np.ndarray] | None:
        """The items of the category that each request looks at; None where it is none."""
        return self.of_categories(table["page"].to_pylist()) if "page" in table.column_names else None

    def of_categories(self, pages: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The items of the catalogue that are of each of some categories: offsets int64 (B + 1,), items int32."""
        code_V, names = self.prepared.first_category
        code = np.array([names.index(name) + 1 for name in pages], np.int64)
        known = self.catalogue[np.argsort(code_V[self.catalogue], kind="stable")]
        first = np.searchsorted(code_V[known], np.arange(len(names) + 2))
        n = first[code + 1] - first[code]
        offsets = np.concatenate([[0], np.cumsum(n)]).astype(np.int64)
        return offsets, known[np.arange(offsets[-1]) + np.repeat(first[code] - offsets[:-1], n)]

    @cached_property
    def nightly(self) -> Nightly | None:
        """Target events as a nightly job would know them; None on data that has only an order."""
        types = list((self.timeline.get("spec") or {}).get("target_events") or ["purchase"])
        cutoff = (self.timeline.get("cutoffs") or {}).get("test", {}).get("us")
        return Nightly.of(self.prepared, event_codes(types), cutoff)

    @property
    def can_refit(self) -> bool:
        """Whether there is a cutoff in time until which to train anew, and the catalogue follows from training rows."""
        cutoffs, timed = self.timeline.get("cutoffs") or {}, self.prepared.events.timestamp is not None
        return "test" in cutoffs and timed and self.protocol == "strict" and not self.timeline["spec"].get("k_core")

    def until_test(self) -> Split:
        """What a model that goes live would be trained on: all before the test cutoff, after validation has chosen.

        A `UserError` where the split has no cutoff in time, or takes its catalogue from the whole log.
        """
        cutoffs, time = self.timeline.get("cutoffs") or {}, self.prepared.events.timestamp
        if not self.can_refit or time is None:
            raise UserError(
                f"evaluation.refit=true needs a strict split with a cutoff in time and without k_core, which "
                f"{self.name} is not; use split=temporal, or evaluation.refit=false"
            )
        offsets = self.prepared.offsets
        train_end = lower_bound(time, offsets[:-1], offsets[1:], int(cutoffs["test"]["us"]))
        if (consent := self.prepared.consent) is not None:  # as at every cutoff, only who agrees then is trained on
            agrees = consent.holds(np.arange(1, self.prepared.n_users + 1), int(cutoffs["test"]["us"]))
            train_end = np.where(agrees, train_end, offsets[:-1])
        inside = np.zeros(len(time) + 1, np.int64)
        np.add.at(inside, offsets[:-1], 1)
        np.add.at(inside, train_end, -1)
        known, rows = np.zeros(self.prepared.n_items + 1, bool), np.flatnonzero(np.cumsum(inside[:-1]) > 0)
        known[self.prepared.events.item[rows]] = True
        if self.timeline["spec"].get("new_items"):
            known |= listed(self.prepared, int(cutoffs["test"]["us"]))
        catalogue, beside = told_apart(self.prepared, self.timeline["spec"].get("target_events") or (), known, rows)
        return replace(
            self,
            timeline={**self.timeline, "cutoffs": {**cutoffs, "validation": cutoffs["test"]}},
            train_end=train_end,
            catalogue=catalogue,
            beside=beside,
            validates=False,
        )

    def request_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """The part's whole Parquet table, with the columns that only slices need (`warm_user`, `warm_targets`, …)."""
        return table_of(place_of(self.path, self.held), self.path, f"{name}.parquet", columns)

    def training_rows(self, event_types: list[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Rows a model may learn from: offsets int64 (n_users + 1,) into the returned row numbers int64.

        Rows lie before each user's training end, show an item that models may know, and, where `event_types`
        (codes) is given, are of those types. Order within a user is kept.
        """
        offsets, events = self.prepared.offsets, self.prepared.events
        lengths = np.stack([self.train_end - offsets[:-1], offsets[1:] - self.train_end], axis=1)  # before, from then
        keep = np.repeat(np.arange(lengths.size) % 2 == 0, lengths.ravel())
        known = np.zeros(self.prepared.n_items + 1, bool)
        known[self.known] = True
        keep &= known[events.item]
        if event_types is not None:
            keep &= np.isin(events.event_type, np.asarray(event_types, np.int8))
        rows = np.flatnonzero(keep)
        return np.searchsorted(rows, offsets), rows


def _lines(table: pa.Table) -> tuple[np.ndarray, np.ndarray] | None:
    if "target_lines" not in table.column_names:
        return None
    lines = table["target_lines"].combine_chunks().values
    return lines.offsets.to_numpy().astype(np.int64), lines.values.to_numpy().astype(np.int64)
