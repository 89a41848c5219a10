"""What `prepare` leaves on disk, opened: flat memory-mapped arrays, item and user tables, splits.

Which files there are and what each holds is declared in `layout.py`.

Whoever opens a folder reads one version of it to the end: files are opened through the folder itself, whatever has its
name by then, and each is checked against the hash that its manifest (a split's: `timeline.json`) has of it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper import configuration
from shopkeeper.data.consent import Consent
from shopkeeper.data.nightly import Nightly
from shopkeeper.data.ranges import lower_bound
from shopkeeper.data.requests import Events, Requests, Targets
from shopkeeper.errors import UserError
from shopkeeper.files import read_json, read_parquet, sha256_json
from shopkeeper.hashing import check_hashes, check_seal
from shopkeeper.locks import Held
from shopkeeper.schema import event_codes
from shopkeeper.timeline import Cutoffs, SplitSpec
from shopkeeper.timeline.zones import zone_of

FORMAT_VERSION = 3  # of a prepared folder; 3: a manifest with a seal
HASHED_RAW = 2  # the format since which the raw files have their hashes: what is older is made anew
SPLIT_FILES = ("train_end.npy", "catalogue.npy", "validation.parquet", "test.parquet")
HASHED_SPLIT, SEALED_SPLIT = 3, 4  # the formats of splits since which they list hashes of files, and have a seal
SPLIT_FORMAT = 4  # of a split folder; a higher number makes older ones be written again
COLUMNS = {
    "item": np.int32,
    "event_type": np.int8,
    "timestamp": np.int64,
    "price": np.float64,
    "quantity": np.float64,
    "order": np.int32,
    "session": np.int32,
    "channel": np.int8,  # or wider, as many as there are (`code_type`)
}


def code_type(n: int) -> type[np.signedinteger[Any]]:
    """The narrowest type for codes 1..n of a column with few different values (0 = unknown): int8 up to 127."""
    return next(kind for kind in (np.int8, np.int16, np.int32) if n <= np.iinfo(kind).max)


@dataclass(frozen=True)
class Prepared:
    """One prepared dataset. Arrays are memory-mapped: opening costs nothing, reading costs what is read."""

    path: Path
    manifest: dict[str, Any]
    offsets: np.ndarray  # int64 (n_users + 1,)
    events: Events
    consent: Consent | None = None  # whose consent is in force when; None where the dataset has no consent table
    held: Held | None = field(default=None, repr=False, compare=False, kw_only=True)  # the folder that was opened

    @classmethod
    def open(cls, path: Path) -> Prepared:
        """Open a prepared folder; a `UserError` says what is missing, damaged or newer, and how to mend it."""
        path = Path(path)
        for patience in (0.05, 0.2, 1.0, 0.0):
            try:
                held = Held(path)
            except OSError:
                held = None
            try:
                if held is None:
                    raise UserError(f"{path} holds no prepared dataset (no manifest.json); run {_command(path)} first")
                return cls._open(path, held)
            except UserError:
                if not patience or not _in_between(path, held):
                    raise
            time.sleep(patience)
        raise AssertionError("the last try returns or raises")

    @classmethod
    def _open(cls, path: Path, held: Held) -> Prepared:
        place = held.place
        if not (place / "manifest.json").is_file():
            raise UserError(f"{path} holds no prepared dataset (no manifest.json); run {_command(path)} first")
        manifest = read_json(place / "manifest.json", path / "manifest.json")
        if not isinstance(manifest, dict) or manifest.get("kind", "prepared") != "prepared":
            raise UserError(f"{path / 'manifest.json'} is none of a prepared dataset; run {_command(path)}")
        again = _command(path, manifest)
        if manifest.get("format_version", 1) > FORMAT_VERSION:
            raise UserError(
                f"{path} was prepared by a newer shopkeeper (format {manifest['format_version']}, this one knows "
                f"{FORMAT_VERSION}); upgrade, or delete the folder and run {again} again"
            )
        listed = manifest.get("files") or {}
        if not listed and manifest.get("format_version", 1) >= HASHED_RAW:
            raise UserError(f"{path / 'manifest.json'} lists no files; delete {path} and run {again} again")
        if listed and sha256_json(listed) != manifest.get("fingerprint"):
            raise UserError(
                f"{path / 'manifest.json'} was changed: its fingerprint is not that of the files it lists; delete "
                f"{path} and run {again} again"
            )
        check_hashes(place, listed, f"delete {path} and run {again} again", path)
        if listed and "offsets.npy" not in listed:
            raise UserError(f"{path / 'manifest.json'} does not list offsets.npy; delete {path} and run {again} again")
        needed = manifest.get("format_version", 1) >= FORMAT_VERSION
        check_seal(manifest, path / "manifest.json", f"delete {path} and run {again} again", needed)
        arrays: dict[str, np.ndarray] = {}
        for name, dtype in COLUMNS.items():
            if f"{name}.npy" in listed or (not listed and (place / f"{name}.npy").is_file()):
                wide = code_type(len(manifest.get("channels") or ())) if name == "channel" else dtype
                arrays[name] = _load(place / f"{name}.npy", wide, path)
        offsets = _load(place / "offsets.npy", np.int64, path)
        for name in ("item", "event_type"):
            if name not in arrays:
                raise UserError(f"{path / name}.npy is missing; delete {path} and run {again} again")
        for name, values in arrays.items():
            if len(values) != offsets[-1]:
                raise UserError(
                    f"{path / name}.npy has {len(values)} rows where offsets.npy says {offsets[-1]}: "
                    f"the folder is damaged; delete it and run {again} again"
                )
        return cls(path, manifest, offsets, Events(**arrays), Consent.read(place, len(offsets) - 1), held=held)

    @property
    def place(self) -> Path:
        """Where files are read: leads to the folder that was opened, also after another one has taken its name."""
        return _place(self.path, self.held)

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """A Parquet file of the folder as it was when it was opened; a `UserError` where it has gone meanwhile."""
        return _table(self.place, self.path, name, columns)

    @property
    def name(self) -> str:
        """Name of the dataset, e.g. `ml_100k`."""
        return str(self.manifest["dataset"])

    @property
    def zone(self) -> str:
        """The shop's time zone, whose days and hours people mean; UTC where the dataset names none."""
        return zone_of(self.manifest.get("config") or {})

    @property
    def fingerprint(self) -> str:
        """Hash over all data files: two folders with the same fingerprint hold the same bytes."""
        return str(self.manifest["fingerprint"])

    @property
    def span(self) -> tuple[int, int]:
        """Instants (µs) of the log's first and last event: cutoffs count back from the last.

        Where this folder shows the log as known at a cutoff, the whole log's, so that all cutoffs have one origin.
        """
        said = self.manifest.get("log_span")
        if said:
            return int(said["first"]), int(said["last"])
        assert self.events.timestamp is not None
        return int(self.events.timestamp.min()), int(self.events.timestamp.max())

    @property
    def observation(self) -> dict[str, Any]:
        """What the log's days say about its ends, as `timeline.observation.observe` gives it; empty: not known."""
        return dict(self.manifest.get("observation") or {})

    def cutoffs(self, spec: SplitSpec) -> Cutoffs:
        """Where a split's windows lie on this log."""
        return spec.cutoffs(*self.span, sliver=self.observation.get("sliver"))

    @property
    def erasure_list(self) -> str | None:
        """SHA-256 of the erasure list that was applied; every artifact made from this data carries it on."""
        changes = self.manifest.get("changes") or {}
        return (changes.get("erasure") or {}).get("hash")

    @property
    def n_users(self) -> int:
        """Number of users; internal ids are 1..n_users."""
        return len(self.offsets) - 1

    @property
    def n_items(self) -> int:
        """Number of items; internal ids are 1..n_items."""
        return int(self.manifest["n_items"])

    @cached_property
    def items(self) -> pa.Table:
        """Item table: row i-1 is item i; columns `item`, `item_id`, attributes."""
        return self.table("items.parquet")

    @cached_property
    def users(self) -> pa.Table:
        """User table: row u-1 is user u; columns `user`, `user_id`, attributes."""
        return self.table("users.parquet")

    @cached_property
    def items_known(self) -> pa.Table | None:
        """Since when attributes of items that come from events are known: `item`, then a timestamp per attribute."""
        return self._optional("items_known")

    @cached_property
    def users_known(self) -> pa.Table | None:
        """The same of users."""
        return self._optional("users_known")

    def known_since(self, kind: str, attribute: str) -> np.ndarray | None:
        """Since when an attribute of each item or user (`kind`: items, users) is known, int64 (n + 1,) µs by id.

        None: it is not from events, so always. What was first written in an event is known strictly after it; where
        it never is written stands the largest int64.
        """
        table = self.items_known if kind == "items" else self.users_known
        if table is None or attribute not in table.column_names:
            return None
        never = np.iinfo(np.int64).max
        since = np.full(max(self.n_items if kind == "items" else self.n_users, len(table)) + 1, never)
        since[1 : len(table) + 1] = pc.fill_null(table[attribute].cast(pa.int64()).combine_chunks(), never).to_numpy()
        return since

    def _optional(self, name: str) -> pa.Table | None:
        return self.table(f"{name}.parquet") if (self.place / f"{name}.parquet").is_file() else None

    @cached_property
    def user_versions(self) -> pa.Table | None:
        """Versions of user attributes (`user`, `valid_from`, attributes), by user and time; None without any."""
        return self._optional("user_versions")

    @cached_property
    def event_user(self) -> np.ndarray:
        """Internal user id of every event, int32 (M,)."""
        return np.repeat(np.arange(1, self.n_users + 1, dtype=np.int32), np.diff(self.offsets))

    def split(self, folder: str) -> Split:
        """Open `splits/<folder>`; a `UserError` where the name leads elsewhere, or it was made from other data."""
        if Path(folder).name != folder or folder == ".." or "\\" in folder:
            raise UserError(f"{folder!r:.80} is no name of a split of {self.path}; train again")
        found = Split.open(self, self.path / "splits" / folder)
        if found.timeline.get("fingerprint", self.manifest.get("fingerprint")) != self.manifest.get("fingerprint"):
            again = _command(self.path, self.manifest)
            raise UserError(f"{found.path} is a split of other data than {self.path} holds by now; run {again}")
        return found


@dataclass(frozen=True)
class Split:
    """One train / validation / test division of a prepared dataset, derived from its timeline."""

    path: Path
    prepared: Prepared
    timeline: dict[str, Any]  # spec, cutoffs, protocol, target hashes, counts, audit
    train_end: np.ndarray  # int64 (n_users,): training rows of user u are offsets[u-1]:train_end[u-1]
    catalogue: np.ndarray  # int32, sorted: the items that may be recommended
    validates: bool = True  # False: its validation part is empty, since those rows are trained on
    held: Held | None = field(default=None, repr=False, compare=False, kw_only=True)  # the folder that was opened

    @classmethod
    def open(cls, prepared: Prepared, path: Path) -> Split:
        """Open a split folder; a `UserError` says what is missing, damaged or newer."""
        path, place = Path(path), Path(path)
        command = _command(prepared.path, prepared.manifest)
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
            _load(held.place / "train_end.npy", np.int64, path),
            _load(held.place / "catalogue.npy", np.int32, path),
            held=held,
        )

    @property
    def name(self) -> str:
        """Folder name, `<split>-<hash8>`."""
        return self.path.name

    @property
    def protocol(self) -> str:
        """`published` (catalogue from the whole log, as papers do) or `strict` (nothing from after the cutoff)."""
        return str(self.timeline["protocol"])

    def target_hash(self, part: str = "test") -> str:
        """SHA-256 over the sorted (external user, instant, external targets) of a part."""
        return str(self.timeline["target_hash"][part])

    def part(self, name: str) -> tuple[Requests, Targets]:
        """Requests and targets of `validation` or `test`, in file order."""
        if name == "validation" and not self.validates:
            requests, targets = self.part("test")
            return requests[0:0], targets[0:0]
        table = self.request_table(name)
        targets = table["targets"].combine_chunks()
        rows = table["target_rows"].combine_chunks()

        def column(key: str, dtype: type) -> np.ndarray | None:
            return table[key].to_numpy().astype(dtype, copy=False) if key in table.column_names else None

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
            nightly=self.nightly,
        )
        return requests, Targets(
            targets.offsets.to_numpy().astype(np.int64),
            targets.values.to_numpy().astype(np.int32),
            rows.values.to_numpy().astype(np.int64),
            _lines(table),
        )

    @cached_property
    def nightly(self) -> Nightly | None:
        """Target events as a nightly job would know them; None on data that has only an order."""
        types = list((self.timeline.get("spec") or {}).get("target_events") or ["purchase"])
        cutoff = (self.timeline.get("cutoffs") or {}).get("test", {}).get("us")
        return Nightly.of(self.prepared, event_codes(types), cutoff)

    def until_test(self) -> Split:
        """What a model that goes live would be trained on: all before the test cutoff, after validation has chosen.

        A `UserError` where the split has no cutoff in time, or takes its catalogue from the whole log.
        """
        cutoffs, time = self.timeline.get("cutoffs") or {}, self.prepared.events.timestamp
        if "test" not in cutoffs or time is None or self.protocol != "strict" or self.timeline["spec"].get("k_core"):
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
        catalogue = np.unique(self.prepared.events.item[np.cumsum(inside[:-1]) > 0])
        return replace(
            self,
            timeline={**self.timeline, "cutoffs": {**cutoffs, "validation": cutoffs["test"]}},
            train_end=train_end,
            catalogue=catalogue.astype(np.int32),
            validates=False,
        )

    def request_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """The part's whole Parquet table, with the columns that only slices need (`warm_user`, `warm_targets`, …)."""
        return _table(_place(self.path, self.held), self.path, f"{name}.parquet", columns)

    def training_rows(self, event_types: list[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Rows a model may learn from: offsets int64 (n_users + 1,) into the returned row numbers int64.

        Rows lie before each user's training end, show an item of the catalogue, and, where `event_types`
        (codes) is given, are of those types. Order within a user is kept.
        """
        offsets, events = self.prepared.offsets, self.prepared.events
        before = np.zeros(len(events.item) + 1, np.int32)
        np.add.at(before, offsets[:-1], 1)
        np.add.at(before, self.train_end, -1)
        keep = np.cumsum(before[:-1]) > 0
        in_catalogue = np.zeros(self.prepared.n_items + 1, bool)
        in_catalogue[self.catalogue] = True
        keep &= in_catalogue[events.item]
        if event_types is not None:
            keep &= np.isin(events.event_type, np.asarray(event_types, np.int8))
        position = np.concatenate([[0], np.cumsum(keep)]).astype(np.int64)
        return position[offsets], np.flatnonzero(keep)


def _lines(table: pa.Table) -> tuple[np.ndarray, np.ndarray] | None:
    if "target_lines" not in table.column_names:
        return None
    lines = table["target_lines"].combine_chunks().values
    return lines.offsets.to_numpy().astype(np.int64), lines.values.to_numpy().astype(np.int64)


def _place(path: Path, held: Held | None) -> Path:
    return held.place if held is not None and held.path == path else path


def _in_between(path: Path, held: Held | None) -> bool:
    """Whether a folder is just being replaced: its name is free for a moment, or another folder has it by now."""
    if held is None:
        return any(path.parent.glob(f".{path.name}.*.tmp"))
    return not path.is_dir() or not os.path.samestat(os.stat(path), os.fstat(held.handle))


def _table(place: Path, shown: Path, name: str, columns: list[str] | None) -> pa.Table:
    if not (place / name).is_file():
        raise UserError(
            f"{shown / name} has gone: the folder was deleted or prepared anew while it was read; "
            f"run the same command again"
        )
    return read_parquet(place / name, columns, shown / name)


def _command(path: Path, manifest: Mapping[str, Any] | None = None) -> str:
    """The command that makes a prepared folder, as far as its manifest or its name (`<dataset>-<hash8>`) says."""
    folder = next((up for up in path.parents if up.name in ("splits", "as_of")), path / "x").parent
    name = str((manifest or {}).get("dataset") or re.sub("-[0-9a-f]{8}$", "", folder.name))
    known = manifest is not None or configuration.find("dataset", name) is not None
    return f"`python prepare.py dataset={name}`" if known else "`python prepare.py`"


def _load(path: Path, dtype: type, folder: Path) -> np.ndarray:
    shown = folder / path.name
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{shown} is missing; delete {folder} and run {_command(folder)} again") from None
    except (ValueError, OSError, EOFError) as e:
        raise UserError(f"{shown} is damaged ({e}); delete {folder} and run {_command(folder)} again") from None
    if array.dtype != dtype:
        raise UserError(f"{shown} holds {array.dtype}, expected {np.dtype(dtype)}; run {_command(folder)} again")
    return array
