"""Write a split: requests, targets, training ends and the catalogue, derived from one specification and audited."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shopkeeper.data.consent import LATEST
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import emptied_by_ties
from shopkeeper.data.split import BESIDE, SPLIT_FORMAT, Split
from shopkeeper.data.threads import side_by_side
from shopkeeper.errors import UserError
from shopkeeper.files import atomic_folder, read_json, write_json
from shopkeeper.hashing import hash_tree, sealed
from shopkeeper.locks import alone
from shopkeeper.splits.audit import audit_split
from shopkeeper.splits.catalogue import known_items
from shopkeeper.splits.parts import Part
from shopkeeper.splits.rules import Division, divide
from shopkeeper.splits.steps import tied
from shopkeeper.splits.target_hash import target_hash
from shopkeeper.timeline import SplitSpec, iso

log = logging.getLogger(__name__)


def write_split(
    prepared: Prepared, spec: Mapping[str, Any] | SplitSpec, real_users: Callable[[], pa.Array] | None = None
) -> Path:
    """Divide a prepared dataset, audit the result and write it to `splits/<name>-<hash8>/`, all or nothing.

    A folder that was written from the same specification and the same data is found, not written again.

    Args:
        prepared: the opened dataset.
        spec: a resolved `split:` config (target events, windows and protocol filled in), or the checked form.
        real_users: gives the external ids before pseudonymisation, by internal id, for the target hash; asked only when
            the split is written.

    Raises:
        UserError: the split does not fit the data or a part is empty (names the setting), or the audit failed.
    """
    spec = spec if isinstance(spec, SplitSpec) else SplitSpec.from_config(spec)
    path, place = prepared.path / "splits" / spec.folder, prepared.place / "splits" / spec.folder
    if _up_to_date(place, prepared, spec):
        return path
    with alone(place, lambda: log.info("another process is at work on %s; waiting for it", path)):
        if not _up_to_date(place, prepared, spec):
            _write(place, prepared, spec, real_users)
    return path


def _write(place: Path, prepared: Prepared, spec: SplitSpec, real_users: Callable[[], pa.Array] | None) -> None:
    division = divide(prepared, spec)
    train_end, catalogue, beside, seen = known_items(prepared, division.train_end, spec)
    division = Division(train_end, division.parts, division.cutoffs)
    timeline = describe(prepared, spec, division, catalogue, seen, real_users() if real_users else None)
    with atomic_folder(place, "split") as folder:
        np.save(folder / "train_end.npy", train_end)
        np.save(folder / "catalogue.npy", catalogue)
        if beside is not None:
            np.save(folder / BESIDE, beside)

        def write_part(name: str) -> None:
            table = part_table(prepared, division.parts[name], train_end, seen)
            pq.write_table(table, folder / f"{name}.parquet", use_dictionary=False)

        side_by_side(write_part, division.parts)
        timeline["files"] = hash_tree(folder)
        write_json(folder / "timeline.json", sealed(timeline))
        timeline["audit"] = audit_split(prepared, Split.open(prepared, folder))
        write_json(folder / "timeline.json", sealed(timeline))


def part_table(prepared: Prepared, part: Part, train_end: np.ndarray, seen: np.ndarray) -> pa.Table:
    """A part as it is written: one row per request, with its targets and what is warm."""
    item = prepared.events.item[part.row]
    offsets = pa.array(part.offsets.astype(np.int32))

    def lists(values: np.ndarray | pa.Array) -> pa.Array:
        return pa.ListArray.from_arrays(offsets, values if isinstance(values, pa.Array) else pa.array(values))

    columns: dict[str, Any] = {
        "request": np.arange(len(part), dtype=np.int64),
        "user": part.user,
        "start": part.start,
        "end": part.end,
    }
    if part.instant is not None:
        columns["instant"] = part.instant
    if prepared.events.channel is not None:
        columns["channel"] = prepared.events.channel[part.row[part.offsets[:-1]]]
    columns |= {"targets": lists(item), "target_rows": lists(part.row)}
    if part.lines is not None:  # where each target has one line, target_rows says it all
        at, rows = part.lines
        columns["target_lines"] = lists(pa.ListArray.from_arrays(pa.array(at.astype(np.int32)), pa.array(rows)))
    for name, held in (("basket_rows", part.basket), ("barred", part.barred)):
        if held is not None:
            columns[name] = pa.ListArray.from_arrays(pa.array(held[0].astype(np.int32)), pa.array(held[1]))
    if part.page is not None:
        columns["page"] = pa.array(part.page.tolist(), pa.string())
    columns |= {
        "warm_user": train_end[part.user - 1] > prepared.offsets[part.user - 1],
        "warm_targets": lists(seen[item]),
    }
    return pa.table(columns)


def describe(
    prepared: Prepared,
    spec: SplitSpec,
    division: Division,
    catalogue: np.ndarray,
    seen: np.ndarray,
    user_ids: pa.Array | None = None,
) -> dict[str, Any]:
    """What `timeline.json` says of a split: specification, cutoffs, counts, ties and hashes (the audit comes after)."""
    events, parts = prepared.events, division.parts
    mask = None if events.timestamp is None else tied(events.timestamp, prepared.offsets, events.order)
    asked = np.zeros(prepared.n_users + 1, bool)
    for part in parts.values():
        asked[part.user] = True

    hashes = side_by_side(lambda part: target_hash(prepared, part, user_ids), parts.values())

    def cold(part: Part) -> dict[str, int]:
        known = seen[events.item[part.row]]
        items = np.zeros(prepared.n_items + 1, bool)
        items[events.item[part.row[~known]]] = True
        no_training = division.train_end[part.user - 1] == prepared.offsets[part.user - 1]
        return {
            "requests_of_cold_users": int(no_training.sum()),
            "requests_without_history": int((part.end == part.start).sum()),
            "cold_targets": int((~known).sum()),
            "cold_items": int(items.sum()),
        }

    return {
        "format": SPLIT_FORMAT,
        "name": spec.name,
        "kind": spec.kind,
        "dataset": prepared.manifest.get("dataset"),
        "fingerprint": prepared.manifest.get("fingerprint"),
        "spec": spec.as_json(),
        "protocol": spec.protocol,
        "cutoffs": None if division.cutoffs is None else division.cutoffs.as_json(),
        "n_training_events": int((division.train_end - prepared.offsets[:-1]).sum()),
        "n_training_users": int((division.train_end > prepared.offsets[:-1]).sum()),
        "n_requests": {name: len(part) for name, part in parts.items()},
        "n_targets": {name: len(part.row) for name, part in parts.items()},
        "n_users_without_request": prepared.n_users - int(asked.sum()),
        "tie_share": None if mask is None else float(mask.mean()),
        "tied_requests_share": None
        if mask is None
        else {name: float(mask[part.row[part.offsets[:-1]]].mean()) for name, part in parts.items()},
        "emptied_by_ties_share": {name: _emptied(part, prepared.events.timestamp) for name, part in parts.items()},
        "target_hash": dict(zip(parts, hashes, strict=True)),
        "catalogue": {"n_items": len(catalogue), "from": _source(spec)},
        "cold": {name: cold(part) for name, part in parts.items()},
        **_consent(prepared, division),
    }


def _source(spec: SplitSpec) -> str:
    if not spec.strict:
        return "the whole log"
    return "training rows and the item table" if spec.new_items else "training rows"


def _emptied(part: Part, timestamp: np.ndarray | None) -> float:
    first = part.row[part.offsets[:-1]]
    return float(emptied_by_ties(part.start, part.end, first, timestamp).mean()) if len(part) else 0.0


def _consent(p: Prepared, division: Division) -> dict[str, Any]:
    """How many customers the training cutoff leaves out because their consent is not in force then."""
    if p.consent is None:
        return {}
    at = LATEST if division.cutoffs is None else division.cutoffs.validation
    user = np.arange(1, p.n_users + 1)[np.diff(p.offsets) > 0]
    if division.cutoffs is not None:
        assert p.events.timestamp is not None
        user = user[p.events.timestamp[p.offsets[user - 1]] < at]
    left_out = int((~p.consent.holds(user, at)).sum())
    return {"consent": {"as_of": "latest" if division.cutoffs is None else iso(at), "users_not_trained_on": left_out}}


def _up_to_date(path: Path, prepared: Prepared, spec: SplitSpec) -> bool:
    if not (path / "timeline.json").is_file():
        return False
    try:
        old = read_json(path / "timeline.json")
    except UserError:
        return False
    return bool(
        old.get("format") == SPLIT_FORMAT
        and old.get("spec") == spec.as_json()
        and old.get("fingerprint") is not None
        and old.get("fingerprint") == prepared.manifest.get("fingerprint")
        and "audit" in old
    )
