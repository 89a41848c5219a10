"""Raw data -> prepared folder: read, check, filter, number, sort, write. The order of the steps is the order below."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shopkeeper.arrange import writer
from shopkeeper.arrange.attributes import entity_table, known_table, version_table
from shopkeeper.arrange.engine import Change, run_engine
from shopkeeper.arrange.engine_settings import Engine
from shopkeeper.arrange.filters import Row
from shopkeeper.arrange.order import Arranged
from shopkeeper.arrange.pieces import counted
from shopkeeper.arrange.queries import query_counts, query_table
from shopkeeper.arrange.returns import link_returns
from shopkeeper.data import consent
from shopkeeper.data.prepared import FORMAT_VERSION, LABELS, QUERIES
from shopkeeper.files import atomic_folder, flush, sha256_json, write_json
from shopkeeper.hashing import hash_tree, sealed
from shopkeeper.ingest import dataset
from shopkeeper.ingest.dataset import DatasetConfig
from shopkeeper.ingest.dataset_parts import ReaderSettings, SideTable
from shopkeeper.ingest.guesses.id_doubts import id_doubts
from shopkeeper.ingest.log import BESIDE, reasons
from shopkeeper.ingest.raw import RawFile, as_json, check_still, raw_files, states
from shopkeeper.ingest.table import divided
from shopkeeper.schema import EVENT_CODE, EVENT_COLUMNS, EVENT_TYPES, MICROSECONDS_PER_DAY
from shopkeeper.shapes import Yaml
from shopkeeper.timeline.observation import observe

SIMULATED = "simulated"  # folder below the prepared one: what the simulator wrote
SIMULATED_LOG = tuple(f"{SIMULATED}/{name}.parquet" for name in ("events", "items", "users"))
log = logging.getLogger(__name__)


def prepare_dataset(
    config: Yaml,
    raw: Path,
    out: Path,
    *,
    progress: bool = True,
    change: Change | None = None,
    engine: Engine | None = None,
    log_span: tuple[int, int] | None = None,
) -> Path:
    """Write the prepared folder `out` of a dataset config from the files below `raw`, and return its path.

    `change` may alter the checked log in place before filters and numbering (consent, identity, erasure); what it
    returns is kept in the manifest under `changes`. `engine`: None is arrays; it
    does not change what is written. `log_span` (µs of the first and last event) is set where this folder shows the log
    as known at one cutoff (`Prepared.span`). The folder appears whole or not at all, and the same input gives
    the same bytes. Raises `UserError` for everything in config or data that the user can mend.
    """
    checked, out = dataset.parse(config), Path(out)
    before, now = states(checked, Path(raw)), raw_files(checked, Path(raw))
    told, given = checked, Path(raw)
    with atomic_folder(out, "prepared") as folder:
        simulation = None
        if checked.simulate is not None:
            simulation = simulate_log(checked, folder / SIMULATED)
            checked, raw = simulated_config(checked, folder), folder
        done = run_engine(engine or Engine(), checked, Path(raw), change, progress)
        span = None if log_span is None else dict(zip(("first", "last"), log_span, strict=True))
        extra = {"simulation": simulation, "changes": done.changes, "log_span": span}
        write_folder(folder, checked, Path(raw), done.arranged, done.rejected, done.filters, extra, now)
        if simulation is not None:
            _drop_simulated_log(folder / SIMULATED)
        check_still(told, given, before)
    return out


def write_folder(
    folder: Path,
    config: DatasetConfig,
    raw: Path,
    arranged: Arranged,
    rejected: pa.Table,
    filters: list[Row],
    extra: Mapping[str, Any],
    read: Sequence[RawFile],
) -> None:
    """All files of a prepared folder, manifest last; `read` are the raw files that it was made from."""
    returns = link_returns(
        arranged.user, arranged.columns["item"], arranged.columns["event_type"], arranged.columns.get("quantity")
    )
    queries = query_table(arranged) if "query" in config.columns else None
    told = config.extra, config.reader.decimal
    with ThreadPoolExecutor(1) as pool:  # beside the longest work, which lets go of the interpreter
        events = pool.submit(writer.write_events, folder / "events.parquet", arranged, returns, *told)
        if arranged.offsets[-1] > BESIDE:
            events.result()
        writer.write_arrays(folder, arranged)
        writer.write_table(folder / "rejected.parquet", rejected)
        matches = _write_entities(folder, config, raw, arranged)
        if queries is not None:
            writer.write_table(folder / QUERIES, queries)
        if arranged.consent is not None:
            writer.write_table(folder / consent.FILE, arranged.consent.table())
        counts = _counts(arranged, returns, config.zone)
        flush(folder)  # what is there of the files, while the rest of the events is written
        events.result()
    hashes = hash_tree(folder, skip=frozenset({"manifest.json"}))
    hashes = {name: digest for name, digest in hashes.items() if name not in SIMULATED_LOG}
    manifest = {
        "format_version": FORMAT_VERSION,
        "kind": "prepared",
        "dataset": config.name,
        **counts,
        "currencies": _currencies(arranged, config.extra),
        "filters": filters,
        **({} if queries is None else {"queries": query_counts(queries)}),
        "rejected": {f"{column}: {reason}": n for column, reason, n in reasons(rejected)},
        "n_rejected": len(rejected),
        "tables": matches,
        "raw_files": as_json(read),
        "config": config.plain,
        "files": hashes,
        "fingerprint": sha256_json(hashes),
        **{key: value for key, value in extra.items() if value is not None},
    }
    write_json(folder / "manifest.json", sealed(manifest))


def _write_entities(folder: Path, config: DatasetConfig, raw: Path, arranged: Arranged) -> list[dict[str, Any]]:
    """The tables of items and users; returns how each file beside the log matches it."""
    matches: list[dict[str, Any]] = []
    for kind, spec in (("item", config.items), ("user", config.users)):
        entities = entity_table(kind, spec, config, raw, arranged, matches)
        if config.table is not None and kind == "user":
            entities, labels = divided(entities, config.table, config.name, config.reader.decimal)
            writer.write_table(folder / LABELS, labels)
        writer.write_table(folder / f"{kind}s.parquet", entities)
        # What a row of a table of customers says of them is known as soon as there is the row.
        if config.table is None and (known := known_table(kind, spec, arranged)) is not None:
            writer.write_table(folder / f"{kind}s_known.parquet", known)
        if spec.valid_from:
            writer.write_table(
                folder / f"{kind}_versions.parquet", version_table(kind, spec, config, raw, arranged, matches)
            )
    return matches


def _id_doubts(a: Arranged) -> list[str]:
    n, lines = int(a.offsets[-1]), []
    for name, column in {"user_id": None, "item_id": "item", "order_id": "order", "session_id": "session"}.items():
        if name in a.names:
            count = len(a.names[name])
            rows = np.diff(a.offsets) if column is None else counted(a.columns[column], count + 1)[1:]
            texts = a.names[name].cast(pa.string())
            if name == "order_id":
                once = texts.dictionary_encode()
                number, n_numbers = once.indices.to_numpy(), len(once.dictionary)
                wide = _spread(a, number, n_numbers)
                if (again := count - n_numbers) or wide:
                    lines.append(
                        f"order_id: {wide:,} of {n_numbers:,} order numbers have lines more than a day apart; "
                        f"{again:,} orders of a later day are orders of their own (order_days)"
                    )
                texts, rows = once.dictionary, np.bincount(number, rows, n_numbers)
            lines += id_doubts(name, texts, rows, n)
    return lines


def _spread(a: Arranged, number: np.ndarray, n: int) -> int:
    """How many of n order numbers have lines more than a day apart; `number` int (orders,) is that of each order."""
    time, order = a.columns.get("timestamp"), a.columns["order"]
    if time is None:
        return 0
    some = order > 0
    first, last = np.full(n, np.iinfo(np.int64).max), np.full(n, np.iinfo(np.int64).min)
    np.minimum.at(first, number[order[some] - 1], time[some])
    np.maximum.at(last, number[order[some] - 1], time[some])
    return int(((last > first) & (last - first > MICROSECONDS_PER_DAY)).sum())


def _sent_again(a: Arranged) -> int:
    """How many lines of purchases and returns equal an earlier one of their order in item, kind, quantity and price.

    By a 64-bit sum of products instead of a sort by five keys: a count to be told, not a filter.
    """
    if "order" not in a.columns:
        return 0
    kind = a.columns["event_type"]  # looks at one thing on one day are no lines, though an order of the day holds them
    rows = np.flatnonzero((a.columns["order"] > 0) & np.isin(kind, [EVENT_CODE["purchase"], EVENT_CODE["return"]]))
    key = np.zeros(len(rows), np.uint64)
    columns = {"user": a.user, **a.columns}  # a number may count the orders of each customer
    for name in ("user", "order", "item", "event_type", "quantity", "price"):
        if name in columns:
            value = columns[name][rows]
            bits = value.astype(np.float64).view(np.uint64) if value.dtype.kind == "f" else value.astype(np.uint64)
            key = (key ^ bits) * np.uint64(0x9E3779B97F4A7C15)
            key ^= key >> np.uint64(29)
    key.sort()
    return int((key[1:] == key[:-1]).sum())


def _bought_together(a: Arranged) -> float:
    """The share of purchases that share their instant with the user's purchase before; 0 where orders have numbers."""
    rows = np.flatnonzero(a.columns["event_type"] == EVENT_CODE["purchase"])
    if "order" in a.columns or not len(rows):
        return 0.0
    time, user = a.columns["timestamp"][rows], a.user[rows]
    return float(((time[1:] == time[:-1]) & (user[1:] == user[:-1])).sum() / len(rows))


def _currencies(a: Arranged, extra: Mapping[str, str]) -> dict[str, int]:
    """How many priced rows are in which currency, as far as the log says (`extra: {currency: …}`)."""
    column, price = f"file:{extra.get('currency')}", a.columns.get("price")
    if price is None or column not in a.columns:
        return {}
    rows = np.bincount(a.columns[column][~np.isnan(price)], minlength=len(a.names[column]) + 1)[1:]
    found: Counter[str] = Counter()
    for name, n in zip(a.names[column].cast(pa.string()).to_pylist(), rows.tolist(), strict=True):
        found[str(name).strip().upper()] += n
    return {name: n for name, n in sorted(found.items()) if n and name}


def _unknown(a: Arranged) -> dict[str, dict[str, int]]:
    """How many events have no price and no quantity, of columns that there are; and how many of them are purchases."""
    found, of_purchases = dict[str, int](), dict[str, int]()
    for name in ("price", "quantity"):
        if name in a.columns:
            missing = np.isnan(a.columns[name])
            found[name] = n = int(missing.sum())
            of_purchases[name] = int((missing & (a.columns["event_type"] == EVENT_CODE["purchase"])).sum()) if n else 0
    return {"unknown": found, "unknown_of_purchases": of_purchases}


def _counts(a: Arranged, returns: np.ndarray | None, zone: str) -> dict[str, Any]:
    types = counted(a.columns["event_type"], len(EVENT_TYPES) + 1)
    out: dict[str, Any] = {
        "n_events": int(a.offsets[-1]),
        "n_users": len(a.names["user_id"]),
        "n_items": len(a.names["item_id"]),
        "channels": a.names["channel"].to_pylist() if "channel" in a.names else [],
        "id_doubts": _id_doubts(a),
        "sent_again": _sent_again(a),
        "event_types": {name: int(types[code]) for code, name in enumerate(EVENT_TYPES, start=1) if types[code]},
        **_unknown(a),
    }
    if "timestamp" in a.columns:
        times = a.columns["timestamp"]
        same = times[1:] == times[:-1]
        inside = np.ones(len(times), bool)
        inside[a.offsets[:-1]] = False  # a user's first event has none before it
        ties = int((same & inside[1:]).sum())
        out["time_span"] = {"first": int(times.min()), "last": int(times.max()), "unit": "microseconds UTC"}
        out["observation"] = observe(times, zone)
        out["ties"] = {"rows": ties, "share": ties / len(times), "of_purchases": _bought_together(a)}
    if returns is not None:
        linked = int((returns >= 0).sum())
        out["returns"] = {"linked": linked, "without_purchase": int(out["event_types"].get("return", 0)) - linked}
    return out


def simulate_log(config: DatasetConfig, folder: Path) -> dict[str, Any]:
    """Write the simulated shop of a config into a new folder; what the manifest says of it."""
    from shopkeeper.simulated.shop import simulate

    folder.mkdir(parents=True)
    assert config.simulate is not None
    return dict(simulate(config.simulate, folder))


def simulated_config(config: DatasetConfig, folder: Path) -> DatasetConfig:
    """The config that reads what the simulator wrote: our own column names in Parquet files."""
    names = pq.ParquetFile(folder / SIMULATED / "events.parquet").schema_arrow.names
    columns = {name: name for name in (*EVENT_COLUMNS, "query") if name in names}
    reader = ReaderSettings("parquet")

    def own(table: SideTable, name: str) -> SideTable:
        return replace(table, file=table.file or f"{name}.parquet", reader=table.reader or reader)

    return replace(
        config,
        folder=SIMULATED,
        files=("events.parquet",),
        reader=reader,
        columns=columns,
        items=own(config.items, "items"),
        users=own(config.users, "users"),
    )


def _drop_simulated_log(folder: Path) -> None:
    """Remove what was read; what else the simulator wrote (truth, campaign, identities) stays."""
    for name in SIMULATED_LOG:
        (folder.parent / name).unlink()
