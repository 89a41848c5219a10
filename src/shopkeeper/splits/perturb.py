"""The full leak audit: change everything after the cutoff and see that the training side does not move by a byte."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.data.consent import Consent
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Events
from shopkeeper.data.split import Split
from shopkeeper.splits.audit_error import AuditError
from shopkeeper.splits.catalogue import known_items
from shopkeeper.splits.parts import Part
from shopkeeper.splits.rules import divide
from shopkeeper.splits.steps import training_mask
from shopkeeper.timeline import DAY, SplitSpec, iso

COLUMNS = ("item", "event_type", "timestamp", "price", "quantity", "order", "session", "channel")


def audit_by_perturbation(
    prepared: Prepared,
    split: Split,
    also: Mapping[str, Callable[[Prepared], np.ndarray]] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Perturb items, prices, types and the number of rows after the cutoff, split again, compare with what is stored.

    Compared byte by byte: who is trained on, up to which row, the rows themselves, the catalogue; and, perturbed after
    the test cutoff only, the validation requests. Splits that are not by time have no common cutoff: there items
    and prices of all rows outside of training are changed, and under `protocol=published` the catalogue (which is
    the whole log's by declaration) is left out.

    Args:
        prepared: the log.
        split: the split as it lies on disk.
        also: name -> function of a log whose array must not move either (features at the training cutoff, counts, …).
        seed: of the perturbation.

    Raises:
        AuditError: naming each thing that moved.
    """
    spec = SplitSpec.from_config(split.timeline["spec"])
    found: list[str] = []
    if spec.timed:
        cutoffs = split.timeline["cutoffs"]
        if spec.shares:  # of a log that does not stay as long: what is asked is what follows from where they lie
            validation, test, end = (int(cutoffs[key]["us"]) for key in ("validation", "test", "end"))
            spec = replace(spec, fold=0, validation=validation, test=test, end=end)
        changed = perturb_after(prepared, cutoffs["validation"]["us"], seed)
        only_test = perturb_after(prepared, cutoffs["test"]["us"], seed)
        where = f"after {iso(cutoffs['validation']['us'])}"
    else:
        # Rows that only the k-core leaves out stay as they are: they have been counted.
        end = np.maximum(split.train_end, divide(prepared, spec, allow_empty=True).train_end)
        changed = perturb_rows(prepared, ~training_mask(prepared.offsets, end), seed)
        only_test, where = None, "outside of training"
    division = divide(changed, spec, allow_empty=True)
    train_end, catalogue, beside, _ = known_items(changed, division.train_end, spec)
    found += _training(prepared, split.train_end, changed, train_end, where)
    both = (("the catalogue", split.catalogue, catalogue), ("what is beside the catalogue", split.beside, beside))
    for what, said, now in both:
        if spec.strict and said is not None and (now is None or now.tobytes() != np.asarray(said).tobytes()):
            moved = len(np.setxor1d(said, [] if now is None else now))
            found.append(f"{what} changes by {moved} items when events {where} change")
    if only_test is not None:
        again = divide(only_test, spec, allow_empty=True).parts["validation"]
        if _content(only_test, again) != _content(prepared, _stored(split)):
            found.append("validation requests change when events after the test cutoff change")
    for name, function in (also or {}).items():
        if function(prepared).tobytes() != function(changed).tobytes():
            found.append(f"{name} changes when events {where} change")
    if found:
        raise AuditError(spec.folder, found)
    return {"passed": True, "perturbed": where, "compared": ["training rows", "catalogue", *(also or {})]}


def perturb_after(prepared: Prepared, cutoff: int, seed: int = 0, *, grow: bool = True) -> Prepared:
    """The same log with another future: before `cutoff` (µs) not a byte differs, from it on nearly everything does.

    Items (new ones among them), types, prices, quantities, channels and orders are drawn anew, a third more rows are
    added at random instants for random customers, new customers among them (numbered after the others). The log's
    last instant stays, because the cutoffs count back from it. `grow=False`: no new items and customers, so that what
    a model learns has the same shape.
    """
    new = 3 if grow else 0
    e, ts = prepared.events, prepared.events.timestamp
    assert ts is not None
    rng = np.random.default_rng(seed)
    late = np.flatnonzero(ts >= cutoff)
    last = int(ts.max())
    n_new = max(3, len(late) // 3)
    user = np.concatenate([prepared.event_user, rng.integers(1, prepared.n_users + 1 + new, n_new).astype(np.int32)])
    fresh = np.concatenate([late, np.arange(len(ts), len(ts) + n_new)])
    at = np.concatenate([ts, rng.integers(cutoff, last + 1, n_new)])
    moves = late[ts[late] < last]
    at[moves] = rng.integers(cutoff, last + 1, len(moves))
    row = np.lexsort((at, user))
    columns: dict[str, np.ndarray] = {"timestamp": at[row]}
    for name in COLUMNS:
        old = getattr(e, name)
        if old is None or name == "timestamp":
            continue
        values = np.concatenate([old, np.zeros(n_new, old.dtype)])
        values[fresh] = _drawn(prepared, name, old, len(fresh), rng, new)
        columns[name] = values[row]
    n_users = int(max(user.max(), prepared.n_users))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=n_users + 1)[1:])]).astype(np.int64)
    manifest = {**prepared.manifest, "n_items": prepared.n_items + new}
    consent = None if prepared.consent is None else _other_consent(prepared.consent, n_users, cutoff, last, rng)
    changed = replace(prepared, manifest=manifest, offsets=offsets, events=Events(**columns), consent=consent)
    _other_attributes(prepared, changed, cutoff, rng)
    return changed


def _other_attributes(old: Prepared, changed: Prepared, cutoff: int, rng: np.random.Generator) -> None:
    """Attributes that an event at or after the cutoff has shown first, or none, become others, of other instants."""
    for kind in ("items", "users"):
        known = getattr(old, f"{kind}_known")
        if known is None:
            continue
        table = getattr(old, kind)
        for name in known.column_names[1:]:
            since = pc.fill_null(known[name].cast(pa.int64()), np.iinfo(np.int64).max).to_numpy()
            late = np.flatnonzero(since >= cutoff)
            values = table[name].combine_chunks()
            # A value of another id, or none; of few values a chance draw may be the old one.
            source = np.arange(len(values))
            source[late] = rng.integers(0, len(values), len(late))
            gone = np.zeros(len(values), bool)
            gone[late] = rng.random(len(late)) < 0.5
            at = np.array(since)
            at[late] = cutoff + rng.integers(0, 1 + DAY * 30, len(late))
            place = table.column_names.index(name)
            table = table.set_column(place, name, values.take(pa.array(source, mask=gone)))
            instants = pa.array(at, pa.timestamp("us", "UTC"), mask=gone | (at == np.iinfo(np.int64).max))
            known = known.set_column(known.column_names.index(name), name, instants)
        vars(changed)[kind], vars(changed)[f"{kind}_known"] = table, known  # cached properties of the copy


def _other_consent(old: Consent, n_users: int, cutoff: int, last: int, rng: np.random.Generator) -> Consent:
    """The same ledger up to a cutoff; at a random instant after it everybody changes their mind."""
    known = old.until(cutoff)  # who withdraws at the very cutoff is not trained on
    n = np.zeros(n_users, np.int64)
    n[: len(old.first) - 1] = np.diff(known.first)
    first = np.concatenate([[0], np.cumsum(n + 1)]).astype(np.int64)
    at, in_force = rng.integers(cutoff + 1, max(last, cutoff + 1) + 1, first[-1]), np.zeros(first[-1], bool)
    kept = np.repeat(first[:-1] - np.concatenate([[0], np.cumsum(n)[:-1]]), n) + np.arange(n.sum())
    at[kept], in_force[kept] = known.at, known.in_force
    end = first[1:] - 1
    in_force[end] = np.where(n > 0, ~in_force[end - 1], True)
    return Consent(first, at, in_force)


def perturb_rows(prepared: Prepared, rows: np.ndarray, seed: int = 0, *, grow: bool = True) -> Prepared:
    """The same log with other items, prices and quantities in the rows of a mask, bool (M,); order and types stay."""
    rng, new = np.random.default_rng(seed), 3 if grow else 0
    columns: dict[str, Any] = {}
    for name in ("item", "price", "quantity"):
        old = getattr(prepared.events, name)
        if old is not None:
            values = np.array(old)
            values[rows] = _drawn(prepared, name, old, int(rows.sum()), rng, new)
            columns[name] = values
    manifest = {**prepared.manifest, "n_items": prepared.n_items + new}
    return replace(prepared, manifest=manifest, events=replace(prepared.events, **columns))


def _drawn(p: Prepared, name: str, old: np.ndarray, n: int, rng: np.random.Generator, new: int) -> np.ndarray:
    if name == "item":
        return rng.integers(1, p.n_items + 1 + new, n)
    if name == "event_type":
        return rng.choice(np.unique(old), n)
    if name in ("price", "quantity"):
        return rng.uniform(0.01, 1000, n)
    return rng.integers(0, int(old.max(initial=0)) + 1 + new, n)


def _training(p: Prepared, train_end: np.ndarray, changed: Prepared, changed_end: np.ndarray, where: str) -> list[str]:
    lengths = train_end - p.offsets[:-1]
    again = changed_end - changed.offsets[:-1]
    if again[p.n_users :].any() or lengths.tobytes() != again[: p.n_users].tobytes():
        return [f"who is trained on, or up to which event, changes when events {where} change"]
    mask, changed_mask = training_mask(p.offsets, train_end), training_mask(changed.offsets, changed_end)
    found = []
    for name in COLUMNS:
        old, new = getattr(p.events, name), getattr(changed.events, name)
        if old is not None and old[mask].tobytes() != new[changed_mask].tobytes():
            found.append(f"{name} of training rows changes when events {where} change")
    return found


def _stored(split: Split) -> Part:
    requests, targets, basket = split.as_written("validation")
    assert requests.user is not None
    t = targets
    asked = requests.user, requests.start, requests.end, requests.instant
    return Part(*asked, t.offsets, t.row, t.lines, basket, requests.barred)


def _content(p: Prepared, part: Part) -> bytes:
    """Requests without absolute row numbers (those move with other users' rows)."""
    first = p.offsets[part.user - 1]
    of_request = np.repeat(np.arange(len(part)), np.diff(part.offsets))
    arrays = (
        part.user.astype(np.int64),
        part.start - first,
        part.end - first,
        np.zeros(0, np.int64) if part.instant is None else np.asarray(part.instant),
        part.offsets,
        part.row - first[of_request],
        p.events.item[part.row],
        *_line_content(p, part),
        *(() if part.barred is None else part.barred),
    )
    return b"|".join(np.ascontiguousarray(a).tobytes() for a in arrays)


def _line_content(p: Prepared, part: Part) -> list[np.ndarray]:
    if part.lines is None:
        return []
    offsets, rows = part.lines
    return [offsets, rows - p.offsets[p.event_user[rows] - 1]]
