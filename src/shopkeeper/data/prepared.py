"""What `prepare` leaves on disk, opened: flat memory-mapped arrays, item and user tables.

Which files there are and what each holds is declared in `layout.py`; its divisions into training and questions are in
`split.py`.

Whoever opens a folder reads one version of it to the end: files are opened through the folder itself, whatever has its
name by then, and each is checked against the hash that its manifest has of it.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.data.consent import Consent
from shopkeeper.data.offered import HIDDEN, PRODUCT, QUERY
from shopkeeper.data.requests import Events
from shopkeeper.data.stored import COLUMNS, array_of, code_type, command_of, place_of, table_of
from shopkeeper.errors import UserError
from shopkeeper.files import read_json, sha256_json
from shopkeeper.hashing import check_hashes, check_seal
from shopkeeper.locks import Held
from shopkeeper.schema import CATEGORY_COLUMNS, event_codes
from shopkeeper.timeline import Cutoffs, SplitSpec
from shopkeeper.timeline.zones import zone_of

FORMAT_VERSION = 3  # of a prepared folder; 3: a manifest with a seal
LABELS = "labels.parquet"  # of a table of customers
QUERIES = "queries.parquet"
HASHED_RAW = 2  # the format since which the raw files have their hashes: what is older is made anew


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
                    raise UserError(
                        f"{path} holds no prepared dataset (no manifest.json); run {command_of(path)} first"
                    )
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
            raise UserError(f"{path} holds no prepared dataset (no manifest.json); run {command_of(path)} first")
        manifest = read_json(place / "manifest.json", path / "manifest.json")
        if not isinstance(manifest, dict) or manifest.get("kind", "prepared") != "prepared":
            raise UserError(f"{path / 'manifest.json'} is none of a prepared dataset; run {command_of(path)}")
        again = command_of(path, manifest)
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
                arrays[name] = array_of(place / f"{name}.npy", wide, path)
        offsets = array_of(place / "offsets.npy", np.int64, path)
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
        return place_of(self.path, self.held)

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """A Parquet file of the folder as it was when it was opened; a `UserError` where it has gone meanwhile."""
        return table_of(self.place, self.path, name, columns)

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

    def part(self, offsets: np.ndarray, events: Events) -> Prepared:
        """Histories in a log of their own, which begins and ends when this one does; nobody's consent is asked."""
        first, last = self.span
        manifest = {**self.manifest, "log_span": {"first": first, "last": last}}
        return replace(self, manifest=manifest, offsets=offsets, events=events, consent=None)

    @property
    def observation(self) -> dict[str, Any]:
        """What the log's days say about its ends, as `timeline.observation.observe` gives it; empty: not known."""
        return dict(self.manifest.get("observation") or {})

    def cutoffs(self, spec: SplitSpec) -> Cutoffs:
        """Where a split's windows lie on this log."""
        return spec.cutoffs(*self.span, sliver=self.observation.get("sliver"), targets=self._asked(spec))

    def _asked(self, spec: SplitSpec) -> np.ndarray | None:
        """When the log's target events were, int64 µs ascending; None where no window is a share of them."""
        at, kinds = self.events.timestamp, self.events.event_type
        if at is None or not spec.shares:
            return None
        return np.sort(at[np.isin(kinds, np.array(event_codes(spec.target_events), kinds.dtype))])

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
    def labels(self) -> pa.Table:
        """Of a table of customers: row u-1 is user u; `user`, then what is true per task, null where not known."""
        return self.table(LABELS)

    @cached_property
    def items_known(self) -> pa.Table | None:
        """Since when attributes of items that come from events are known: `item`, then a timestamp per attribute."""
        return self._optional("items_known")

    @cached_property
    def users_known(self) -> pa.Table | None:
        """The same of users."""
        return self._optional("users_known")

    @cached_property
    def queries(self) -> pa.Table | None:
        """The queries among the items, by internal id: `item`, `query` (null: a bucket), `events`, `customers`."""
        return self._optional("queries")

    @cached_property
    def kind_V(self) -> np.ndarray | None:
        """What each item is, int8 (n_items + 1,): `PRODUCT`, `QUERY` or `HIDDEN`; None where all are products."""
        if self.queries is None:
            return None
        kind_V = np.full(self.n_items + 1, PRODUCT, np.int8)
        kind_V[self.queries["item"].to_numpy()] = np.where(self.queries["query"].is_valid().to_numpy(), QUERY, HIDDEN)
        return kind_V

    @cached_property
    def first_category(self) -> tuple[np.ndarray, list[str]]:
        """The (first) category of each item, int64 (n_items + 1,), 0 = unknown, and the categories by code from 1."""
        name = next((c for c in CATEGORY_COLUMNS if c in self.items.column_names), None)
        values = [] if name is None else self.items[name].to_pylist()
        firsts = [(v[0] if v else None) if isinstance(v, list) else v for v in values]  # of several genres the first
        texts = [None if v is None or not str(v).strip() else str(v) for v in firsts]
        names = sorted({text for text in texts if text is not None})
        place = {text: code for code, text in enumerate(names, start=1)}
        return np.array([0, *(0 if text is None else place[text] for text in texts)], np.int64), names

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


def _in_between(path: Path, held: Held | None) -> bool:
    """Whether a folder is just being replaced: its name is free for a moment, or another folder has it by now."""
    if held is None:
        return any(path.parent.glob(f".{path.name}.*.tmp"))
    return not path.is_dir() or not os.path.samestat(os.stat(path), os.fstat(held.handle))
