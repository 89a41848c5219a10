"""A new day's files join a prepared dataset: ids that exist keep their numbers, and nothing old is read again.

The result has the same bytes as preparing all files at once, because the new events come after the old ones and ids
are numbered by first appearance. What would break this is refused: events from before the last one that is there,
filters that judge a user or an item by the whole log (k-core, history lengths, retention, bots), and erasure, consent,
pseudonyms, shuffled ties and identities as of one instant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.arrange.filters import apply_filters
from shopkeeper.arrange.order import COLUMN_OF, arrange
from shopkeeper.arrange.order_numbers import split_orders
from shopkeeper.arrange.prepare import write_folder
from shopkeeper.data.prepared import HASHED_RAW, Prepared
from shopkeeper.errors import UserError
from shopkeeper.files import atomic_folder
from shopkeeper.ingest import dataset
from shopkeeper.ingest.dataset import DatasetConfig
from shopkeeper.ingest.log import Ids, Log, read_log
from shopkeeper.ingest.raw import RawFile, check_still, raw_files, states
from shopkeeper.shapes import Yaml

PER_ROW_FILTERS = {"event_types", "consecutive_repeats"}


def extend_dataset(prepared: Path, config: Yaml, raw: Path, out: Path, *, progress: bool = True) -> Path:
    """Write `out`: the prepared dataset `prepared` and the files of `config` that it does not hold yet.

    `config` names all files, old and new, in that order (or a pattern that now matches more). Raises `UserError` when
    another setting than the files has changed, when old files have changed, or when new events are late.
    """
    old, checked = Prepared.open(Path(prepared)), dataset.parse(config)
    if checked.table is not None:
        raise UserError(f"dataset '{checked.name}' is a table, whose rows are one for each customer; prepare it anew")
    if (checked.plain.get("identity") or {}).get("from_events"):
        raise UserError(
            f"dataset '{checked.name}' has identity.from_events, whose columns are not kept; prepare all files together"
        )
    if checked.rows.once or checked.rows.orders == "first":
        which = "rows.once" if checked.rows.once else "rows.orders: first"
        raise UserError(
            f"dataset '{checked.name}' has {which}, and which ids there were is not kept; prepare all files together"
        )
    before, now = states(checked, Path(raw)), raw_files(checked, Path(raw))
    new = _new_files(old, checked, now)
    fresh = read_log(replace(checked, files=tuple(new)), Path(raw), progress, _rows(old))
    if old.events.timestamp is not None and fresh.timestamp is not None and len(old.events.timestamp):
        last = int(old.events.timestamp.max())
        late = int((fresh.timestamp < last).sum())
        if late:
            raise UserError(
                f"{', '.join(new)}: {late:,} of {len(fresh):,} rows are from before the last event in {prepared} "
                f"({np.datetime64(last, 'us')} UTC); prepare all files together: shopkeeper prepare"
            )
    if checked.rows.orders == "once" and "order_id" in fresh.ids:
        _check_new_orders(old, fresh, new)
    rejected = pa.concat_tables([old.table("rejected.parquet"), fresh.rejected]).combine_chunks()
    known = _known(old, checked)
    merged = _merge(_old_log(old, checked, known), fresh)
    orders = None  # texts by code of the log, where one text may stand for several orders
    if split_orders(merged, checked.zone, checked.order_days):
        orders = merged.ids["order_id"].values
        known["order_id"] = _tell_apart(merged, old)
    filters = apply_filters(merged, checked.filters, checked.zone)
    known = {name: names for name, names in known.items() if not name.startswith("file:")}
    arranged = arrange(merged, known)
    if orders is not None:
        arranged.names["order_id"] = orders.take(arranged.names["order_id"].cast(pa.int64()))
    read = _rows(old)[0] + len(fresh)
    extra = {"extended": {"fingerprint": old.fingerprint, "files": new, "rows": len(fresh), "rows_of_all": read}}
    changes = dict(old.manifest.get("changes") or {})
    if left_out := Counter(changes.get("left_out") or {}) + Counter(fresh.left_out):
        changes["left_out"] = dict(left_out)
    extra |= {"changes": changes} if changes or "changes" in old.manifest else {}
    with atomic_folder(Path(out), "prepared") as folder:
        write_folder(folder, checked, Path(raw), arranged, rejected, filters, extra, now)
        check_still(checked, Path(raw), before)
    return Path(out)


def _check_new_orders(old: Prepared, fresh: Log, new: list[str]) -> None:
    """A `UserError` where new files hold an order that is there already, which would be read from them alone."""
    there = pc.unique(old.table("events.parquet", ["order_id"])["order_id"].cast(pa.string()))
    codes = fresh.ids["order_id"].codes
    new_ones = fresh.ids["order_id"].values.take(pa.array(np.unique(codes[codes >= 0])))
    if fresh.orders_aside is not None:  # cancelled since, and left out
        new_ones = pc.unique(pa.concat_arrays([new_ones, fresh.orders_aside]))
    again = int(pc.sum(pc.is_in(new_ones, value_set=there)).as_py() or 0)
    if again:
        raise UserError(
            f"{', '.join(new)}: {again:,} orders are in {old.path} already, and an order that stands in several files "
            f"is read from the last (rows.orders); prepare all files together: shopkeeper prepare, without extend"
        )


def _rows(old: Prepared) -> tuple[int, int]:
    """Rows of the files that are there already: those that passed the checks, and the rejected ones."""
    manifest = old.manifest
    filters = manifest.get("filters") or []
    passed = filters[0]["rows_before"] if filters else manifest["n_events"]
    return int((manifest.get("extended") or {}).get("rows_of_all", passed)), int(manifest["n_rejected"])


def _new_files(old: Prepared, config: DatasetConfig, now: list[RawFile]) -> list[str]:
    before = old.manifest["config"]
    for key in sorted({*before, *config.plain} - {"raw"}):
        if before.get(key) != config.plain.get(key):
            raise UserError(f"{old.path} was prepared with another `{key}`; prepare all files together")
    if config.filters.repeats:
        raise UserError(
            "filters.repeats compares new rows with old ones that it has dropped, too, and those are not kept; prepare "
            "all files together: shopkeeper prepare, without extend"
        )
    for name in config.filters.asked:
        if name not in PER_ROW_FILTERS:
            raise UserError(f"filters.{name} looks at the whole log, which new rows change; prepare all files together")
    for key in ("logs", "order_by"):
        if config.plain.get(key):
            raise UserError(
                f"`{key}` of dataset '{config.name}' puts rows of several files in order, new ones among old ones; "
                f"prepare all files together: shopkeeper prepare, without extend"
            )
    if config.simulate is not None:
        raise UserError(f"{old.path} is simulated, and new files are not; prepare it anew instead")
    if "query" in config.columns:
        raise UserError(
            "which queries are kept as text hangs on the whole log, which new rows change; prepare all files together: "
            "shopkeeper prepare, without extend"
        )
    if changes := sorted(
        set(old.manifest.get("changes") or {}) - {"left_out"}
    ):  # identities as of each cutoff alone change nothing here
        raise UserError(
            f"{old.path} was changed by {' and '.join(changes)}, and what was taken out for it is not kept; "
            f"prepare all files together: shopkeeper prepare, without extend"
        )
    columns = [*config.items.from_events.values(), *config.users.from_events.values()]
    columns += config.extra.values()
    if len(set(columns)) < len(columns):
        raise UserError(f"dataset '{config.name}' uses one column of the log twice; prepare all files together")
    if old.manifest.get("format_version", 1) < HASHED_RAW:
        raise UserError(f"{old.path} was prepared by an older shopkeeper, without hashes; prepare all files together")
    have = {(f["role"], f["name"]): f["hash"] for f in old.manifest["raw_files"]}
    here = {(f.role, f.name): f.hash for f in now}
    for role, name in have:
        if (role, name) not in here:
            raise UserError(f"{name} has gone since {old.path} was prepared; prepare all files together")
        if role == "log" and here[role, name] != have[role, name]:  # the whole tables are read anew in any case
            raise UserError(f"{name} has changed since {old.path} was prepared; prepare all files together")
    names, known = [f.name for f in now if f.role == "log"], [name for role, name in have if role == "log"]
    if [name for name in names if name in known] != known:  # it decides among rows of one instant
        raise UserError(f"{old.path} was prepared with its files in another order; prepare all files together")
    new = [name for name in names if name not in known]
    if not new:
        raise UserError(f"config '{config.name}' names no new file after those of {old.path}; add it to raw.files")
    if early := [name for name in new if name in names[: len(names) - len(new)]]:
        raise UserError(
            f"{early[0]} comes before {names[-1]} among the files of config '{config.name}', and {old.path} holds that "
            f"one already; name it last in raw.files, or prepare all files together"
        )
    return new


def _known(old: Prepared, config: DatasetConfig) -> dict[str, pa.Array]:
    """Texts of the ids that exist, by id; `file:…` columns too."""
    known = {
        "user_id": old.users["user_id"].combine_chunks().cast(pa.string()),
        "item_id": old.items["item_id"].combine_chunks().cast(pa.string()),
    }
    for name in ("order_id", "session_id"):
        ids = getattr(old.events, COLUMN_OF[name])
        if ids is not None:
            row = np.zeros(int(ids.max(initial=0)) + 1, np.int64)
            row[ids[::-1]] = np.arange(len(ids) - 1, -1, -1)
            texts = old.table("events.parquet", [name])[name].combine_chunks()
            known[name] = texts.take(pa.array(row[1:])).cast(pa.string())
    if old.events.channel is not None:
        known["channel"] = pa.array(old.manifest["channels"], pa.string())
    for table, spec in ((old.items, config.items), (old.users, config.users)):
        for attribute, column in spec.from_events.items():
            known[f"file:{column}"] = table[attribute].combine_chunks().cast(pa.string())
    for name, column in config.extra.items():
        texts = old.table("events.parquet", [name])[name]
        known[f"file:{column}"] = pc.unique(texts.cast(pa.string()).drop_null())
    return known


def _old_log(old: Prepared, config: DatasetConfig, known: Mapping[str, pa.Array]) -> Log:
    """The events of a prepared folder as a log whose codes are the internal ids less one."""
    events = old.events
    ids = {"user_id": Ids(old.event_user - 1, known["user_id"]), "item_id": Ids(events.item - 1, known["item_id"])}
    for name in ("order_id", "session_id", "channel"):
        if name in known:
            ids[name] = Ids(getattr(events, COLUMN_OF[name]).astype(np.int32) - 1, known[name])
    for kind, owner, spec in (("items", "item_id", config.items), ("users", "user_id", config.users)):
        for attribute, column in spec.from_events.items():
            # An item's events carry the value that was first known of it, from then on; null where none was.
            values = known[f"file:{column}"]
            code = np.where(values.is_valid().to_numpy(zero_copy_only=False), np.arange(len(values)), -1)
            codes = code.astype(np.int32)[ids[owner].codes]
            first = old.known_since(kind, attribute)
            if first is not None and events.timestamp is not None:
                codes = np.where(events.timestamp < first[ids[owner].codes + 1], np.int32(-1), codes)
            ids[f"file:{column}"] = Ids(codes, pc.fill_null(values, ""))
    for name, column in config.extra.items():
        texts = old.table("events.parquet", [name])[name].combine_chunks().cast(pa.string())
        codes = pc.fill_null(pc.index_in(texts, value_set=known[f"file:{column}"]), -1)
        ids[f"file:{column}"] = Ids(codes.to_numpy(zero_copy_only=False).astype(np.int32), known[f"file:{column}"])
    return Log(ids, events.event_type, events.timestamp, events.price, events.quantity)


def _tell_apart(merged: Log, old: Prepared) -> pa.Array:
    """Call each order of a merged log by its code, in place, and say what those of the old folder are called so."""
    ids, codes = merged.ids["order_id"], old.events.order
    assert codes is not None
    called = np.zeros(int(codes.max(initial=0)) + 1, np.int64)
    called[codes] = ids.codes[: len(codes)]
    merged.ids["order_id"] = Ids(ids.codes, pa.array(np.arange(len(ids.values))).cast(pa.string()))
    return pa.array(called[1:]).cast(pa.string())


def _merge(a: Log, b: Log) -> Log:
    if set(a.ids) != set(b.ids):
        raise UserError("the new files hold other columns than the prepared dataset; prepare all files together")
    ids = {}
    for name in a.ids:
        values = pa.concat_arrays([a.ids[name].values, b.ids[name].values])
        shared = pc.dictionary_encode(values)  # one code per text, the old ones first
        place = shared.indices.to_numpy(zero_copy_only=False).astype(np.int32)
        split = len(a.ids[name].values)
        old, new = np.append(place[:split], -1), np.append(place[split:], -1)
        ids[name] = Ids(np.concatenate([old[a.ids[name].codes], new[b.ids[name].codes]]), shared.dictionary)

    def join(x: np.ndarray | None, y: np.ndarray | None) -> np.ndarray | None:
        return None if x is None or y is None else np.concatenate([x, y])

    event_type = join(a.event_type, b.event_type)
    assert event_type is not None
    timestamp, price, quantity = (join(getattr(a, c), getattr(b, c)) for c in ("timestamp", "price", "quantity"))
    return Log(ids, event_type, timestamp, price, quantity)
