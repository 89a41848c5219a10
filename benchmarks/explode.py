"""How fast, and in how much memory, a GA4 export becomes one row per item: this project, pandas, DuckDB.

    python benchmarks/explode.py                      # measure what is not measured yet, write results/explode.json
    python benchmarks/explode.py --fresh              # forget earlier measurements (data/bench/explode.jsonl) first
    python benchmarks/explode.py --only lean          # of these runs alone: fifth, lean, full, parquet
    python benchmarks/explode.py --items 600000       # smaller files, nothing is written

Two files of the same events (a daily table of the BigQuery export: nested parameters, items with six fields): JSON
lines as BigQuery dumps them, 64-bit numbers as text, and Parquet. Each system makes the columns customer, item, time,
kind, order, price and quantity of every item, in a process of its own with two threads, in turn; times exclude imports,
memory is the peak of the process. pandas would need more memory for 10 million of these items than the machine has. It
is asked of a fifth of them, and of 10 million that carry no more than what is asked for (one parameter, items of id,
price and quantity), which fit; so are we beside it.

`shopkeeper explode` keeps the exploded columns as they come, as pandas and DuckDB do; `shopkeeper read` is what
`prepare` does with the file: every check of every row, ids as codes, the log in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from _log import DATA, THREADS
from _timed import timed

ITEMS, SHARE = 10_000_000, 5  # pandas is asked of a fifth
PANDAS_GIB = 16  # that must be free for pandas with the lean items
BATCH = 100_000  # events written at once
COLUMNS = {"customer": "user_pseudo_id", "item": "items.item_id", "time": "event_timestamp", "kind": "event_name",
           "order": "ecommerce.transaction_id", "price": "items.price", "quantity": "items.quantity"}  # fmt: skip
KINDS = ("jsonl", "parquet")
RUNS_FILE = DATA / "explode.jsonl"
# Kind of file, which items ("full", a "fifth" of those, "lean" ones), system.
RUNS = (("jsonl", "fifth", "shopkeeper explode"), ("jsonl", "fifth", "shopkeeper read"), ("jsonl", "fifth", "pandas"),
        ("jsonl", "lean", "shopkeeper explode"), ("jsonl", "lean", "shopkeeper read"), ("jsonl", "lean", "pandas"),
        ("jsonl", "full", "shopkeeper read"), ("parquet", "full", "shopkeeper explode"),
        ("parquet", "full", "shopkeeper read"), ("parquet", "full", "duckdb"))  # fmt: skip


def events(n: int, seed: int) -> pl.DataFrame:
    """n events with 1 to 5 items, 3 on average."""
    rng = np.random.default_rng(seed)
    sizes, users = rng.integers(1, 6, n), rng.integers(0, 200_000, n)
    times = 1_762_300_000_000_000 + np.sort(rng.integers(0, 86_400_000_000, n))
    kinds = rng.choice(["view_item", "add_to_cart", "purchase"], n, p=[0.8, 0.15, 0.05])
    first = np.concatenate([[0], np.cumsum(sizes)])
    number = (50_000 * rng.random(first[-1]) ** 3).astype(int)
    prices, quantity = np.round(rng.gamma(2, 10, len(number)), 2), rng.integers(1, 4, len(number))
    item = pl.DataFrame({"n": number, "price": prices, "quantity": quantity}).select(
        item_id=pl.format("SKU{}", _digits("n", 5)), item_name=pl.format("Product {}", "n"),
        item_brand=pl.format("B{}", pl.col("n") % 50), item_category=pl.format("C{}", pl.col("n") % 300),
        price="price", quantity="quantity",
    )  # fmt: skip
    items = pa.ListArray.from_arrays(pa.array(first, pa.int32()), item.to_struct().to_arrow())
    frame = pl.DataFrame({"i": np.arange(n), "t": times, "u": users, "kind": kinds, "shown": number[first[:-1]]})

    def entry(key: str, text: pl.Expr, number: pl.Expr) -> pl.Expr:
        return pl.struct(key=pl.lit(key), value=pl.struct(string_value=text, int_value=number))

    no_text, no_number = pl.lit(None, pl.String), pl.lit(None, pl.Int64)
    page = pl.format("https://shop.example/p/{}?ref={}", "shown", pl.col("i") % 97)
    order = pl.when(pl.col("kind") == "purchase").then(pl.format("T{}-{}", pl.lit(seed), "i"))
    return frame.select(
        event_date=pl.lit("20251105"), event_timestamp="t", event_name="kind",
        event_params=pl.concat_list(
            entry("ga_session_id", no_text, pl.col("t") // 1_800_000_000), entry("page_location", page, no_number),
            entry("currency", pl.lit("EUR"), no_number),
        ),
        user_pseudo_id=pl.format("{}.17623{}", pl.col("u") * 7919 % 1_000_003, _digits("u", 5)),
        ecommerce=pl.struct(transaction_id=order), items=pl.Series(pl.from_arrow(items)),
    )  # fmt: skip


def _digits(column: str, n: int) -> pl.Expr:
    return pl.col(column).cast(pl.String).str.zfill(n)


def lean(frame: pl.DataFrame) -> pl.DataFrame:
    """Events with no more than the columns that are asked for, and one parameter."""
    fields = [pl.element().struct.field(name) for name in ("item_id", "price", "quantity")]
    return frame.with_columns(pl.col("event_params").list.head(1), pl.col("items").list.eval(pl.struct(fields)))


def dumped(frame: pl.DataFrame) -> bytes:
    """Events as BigQuery writes JSON: 64-bit numbers as text, nothing where nothing is."""
    value = pl.element().struct.field("value").struct.with_fields(pl.field("int_value").cast(pl.String))
    frame = frame.with_columns(
        pl.col("event_timestamp").cast(pl.String),
        pl.col("items").list.eval(pl.element().struct.with_fields(pl.field("quantity").cast(pl.String))),
        pl.col("event_params").list.eval(pl.element().struct.with_fields(value.alias("value"))),
    )
    text = frame.write_ndjson().encode()
    for nothing in (b'"ecommerce":{"transaction_id":null},', b'"string_value":null,', b',"int_value":null'):
        text = text.replace(nothing, b"")
    assert b"null" not in text
    return text


def generate(items: int, kinds: tuple[str, ...] = KINDS) -> dict[str, Path]:
    """A file of each kind ("lean" is JSON lines, too), of the same events, made once."""
    paths = {kind: DATA / f"ga4-{items}{'-lean.jsonl' if kind == 'lean' else f'.{kind}'}" for kind in kinds}
    if all(path.is_file() for path in paths.values()):
        return paths
    DATA.mkdir(parents=True, exist_ok=True)
    value = pa.struct({"string_value": pa.string(), "int_value": pa.int64()})
    item = pa.struct({"item_id": pa.string(), "item_name": pa.string(), "item_brand": pa.string(),
                      "item_category": pa.string(), "price": pa.float64(), "quantity": pa.int64()})  # fmt: skip
    schema = pa.schema({
        "event_date": pa.string(), "event_timestamp": pa.int64(), "event_name": pa.string(),
        "event_params": pa.list_(pa.struct({"key": pa.string(), "value": value})), "user_pseudo_id": pa.string(),
        "ecommerce": pa.struct({"transaction_id": pa.string()}), "items": pa.list_(item),
    })  # fmt: skip
    part = {kind: path.with_name(f"{path.name}.part") for kind, path in paths.items()}
    with ExitStack() as files:
        lines = {kind: files.enter_context(part[kind].open("wb")) for kind in kinds if kind != "parquet"}
        table = files.enter_context(pq.ParquetWriter(part["parquet"], schema)) if "parquet" in kinds else None
        for seed, first in enumerate(range(0, items // 3, BATCH)):
            rows = events(min(BATCH, items // 3 - first), seed)
            for kind, file in lines.items():
                file.write(dumped(lean(rows) if kind == "lean" else rows))
            if table is not None:
                table.write_table(rows.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema))
    for kind, path in paths.items():
        part[kind].replace(path)
    return paths


def config(path: Path) -> dict[str, Any]:
    names = ("user_id", "item_id", "timestamp", "event_type", "order_id", "price", "quantity")
    ours = dict(zip(names, COLUMNS.values(), strict=True))
    kind = ours.pop("event_type")
    return {
        "name": "ga4", "raw": {"folder": "", "files": [path.name]},
        "reader": {"format": "parquet" if path.suffix == ".parquet" else "json_lines"},
        "rows": {"explode": "items"}, "columns": ours, "timestamp": {"unit": "us", "not_after": "2100-01-01"},
        "event_type": {"column": kind, "map": {"view_item": "view", "add_to_cart": "add_to_cart",
                                               "purchase": "purchase"}},
    }  # fmt: skip


def work_of(system: str, path: Path) -> Callable[[], Any]:
    """What a system does; imports are done here."""
    if system == "pandas":
        import pandas as pd

        def with_pandas() -> Any:
            frame = pd.read_json(path, lines=True, dtype=False, convert_dates=False)
            frame = frame[["user_pseudo_id", "event_timestamp", "event_name", "ecommerce", "items"]]
            frame = frame.explode("items", ignore_index=True)
            items = pd.DataFrame(frame.pop("items").tolist())
            frame["order"] = [e.get("transaction_id") if isinstance(e, dict) else None for e in frame.pop("ecommerce")]
            frame = pd.concat([frame, items[["item_id", "price", "quantity"]]], axis=1)
            return frame.rename(columns={"user_pseudo_id": "customer", "event_timestamp": "time", "event_name": "kind",
                                         "item_id": "item"})  # fmt: skip

        return with_pandas
    if system == "duckdb":
        import duckdb

        query = f"""SELECT user_pseudo_id AS customer, event_timestamp AS time, event_name AS kind,
            ecommerce.transaction_id AS "order", item.item_id AS item, item.price AS price, item.quantity AS quantity
            FROM (SELECT *, unnest(items) AS item FROM read_parquet('{path}'))"""
        duckdb.execute(f"SET threads = {THREADS}")
        return lambda: duckdb.sql(query).to_arrow_table()  # of `execute` Arrow gets one copy more
    from collections import Counter

    import pandas  # noqa: F401 (Arrow imports it when it first makes an array of Python's; imports count for nobody)

    from shopkeeper import startup
    from shopkeeper.ingest.dataset import parse
    from shopkeeper.ingest.log import read_log
    from shopkeeper.ingest.reading import blocks_of

    startup.arrow_from_jemalloc()  # as each verb
    told = parse(config(path))
    if system == "shopkeeper read":
        return lambda: read_log(told, path.parent, progress=False)
    return lambda: pa.concat_tables(block.table for block in blocks_of(told, [path], path.parent, None, Counter()))


def in_process(system: str, path: Path) -> dict[str, Any]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "ARROW_NUM_THREADS"), str(THREADS))
    command = [sys.executable, __file__, "--system", system, "--file", str(path)]
    done = subprocess.run(command, env={**os.environ, **threads}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{system} failed: {done.stderr[-2000:]}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"{path.suffix:8s} {system:20s} {found['seconds']:7.2f} s {found['cpu_seconds']:7.2f} s of processor "
          f"{found['peak_gib']:.2f} GiB {found['rows']:,} rows", flush=True)  # fmt: skip
    return found


Run = tuple[str, str, str]


def measured(items: int) -> dict[Run, list[dict[str, Any]]]:
    """What was measured of files of so many items."""
    found: dict[Run, list[dict[str, Any]]] = {}
    for line in RUNS_FILE.read_text().splitlines() if RUNS_FILE.is_file() else []:
        run = json.loads(line)
        if run["items"] == items:
            found.setdefault(tuple(run["of"]), []).append(run)
    return found


def file_of(kind: str, size: str, items: int) -> Path:
    """The file of a run, made where it is not there."""
    if size == "fifth":
        return generate(items // SHARE, (kind,))[kind]
    name = "lean" if size == "lean" else kind
    return generate(items, (name,))[name]


def everything(items: int, repetitions: int, only: str | None) -> None:
    for repetition in range(repetitions):  # in turn, so that a busy spell of the machine hits all alike
        for kind, size, system in RUNS:
            if only not in (None, "parquet" if kind == "parquet" else size):
                continue
            if len(measured(items).get((kind, size, system), [])) > repetition:
                continue
            path = file_of(kind, size, items)
            if (size, system) == ("lean", "pandas") and items == ITEMS and (there := free()) < PANDAS_GIB:
                print(f"left out: pandas with the lean items, as {there:.0f} of {PANDAS_GIB} GiB are free", flush=True)
                continue
            found = {"items": items, "of": (kind, size, system), **in_process(system, path)}
            with RUNS_FILE.open("a") as file:
                file.write(json.dumps(found) + "\n")
    runs = measured(items)
    for size in {size for _, size, _ in runs}:
        kept = {run["rows"] for (_, of, _), several in runs.items() if of == size for run in several}
        assert len(kept) == 1, f"the systems keep different rows: {kept}"
    if items == ITEMS:
        report(runs)


def report(runs: dict[Run, list[dict[str, Any]]]) -> None:
    from importlib.metadata import version
    from statistics import median

    from _results import at_least, at_most, not_had, row, write_result

    said = {"full": "10 million items", "fifth": "2 million items", "lean": "10 million lean items"}
    rows = [
        row(system, f"{said[size]} of GA4, {kind}", figure, unit, [r[key] for r in several])
        for (kind, size, system), several in runs.items()
        for figure, unit, key in (("time", "s", "seconds"), ("processor time", "s", "cpu_seconds"),
                                  ("peak memory", "GiB", "peak_gib"))
    ]  # fmt: skip

    def of(kind: str, size: str, system: str, key: str) -> float:
        return median(run[key] for run in runs[kind, size, system])

    claims = []

    def claimed(what: str, ours: Run, theirs: Run, key: str, required: float, kind: str | None = None) -> None:
        if gone := [run[2] for run in (ours, theirs) if run not in runs]:
            claims.append(not_had("door", what, required, f"not run: {', '.join(gone)}"))
        elif key == "seconds" and theirs[2] == "pandas":
            claims.append(at_least("door", what, of(*theirs, key) / of(*ours, key), required, kind=kind))
        else:
            claims.append(at_most("door", what, of(*ours, key) / of(*theirs, key), required, kind=kind))

    for system in ("shopkeeper explode", "shopkeeper read"):
        for size in ("lean", "fifth"):
            ours, pandas = ("jsonl", size, system), ("jsonl", size, "pandas")
            begins = f"{system}, {said[size]} as JSON lines"
            claimed(f"{begins}, times as fast as pandas.read_json and explode", ours, pandas, "seconds", 2.0)
            claimed(f"{begins}, peak memory over that of pandas", ours, pandas, "peak_gib", 1 / 3)
        ours, duckdb = ("parquet", "full", system), ("parquet", "full", "duckdb")
        aim = "aim" if system == "shopkeeper read" else None
        claimed(f"{system}, 10 million items as Parquet, time over plain DuckDB's", ours, duckdb, "seconds", 1.3, aim)
    write_result("explode", rows, claims, versions={"pandas": version("pandas")})


def free() -> float:
    """GiB of memory that the machine has left."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 2**20


def one(system: str, path: Path) -> None:
    kept: list[Any] = []
    Path("/proc/self/oom_score_adj").write_text("1000")  # should memory run short, this is to go
    work = work_of(system, path)
    found = timed(lambda: kept.append(work()))
    found["peak_gib"] = peak()  # of this process alone: `ru_maxrss` begins with its parent's
    print(json.dumps(found | {"rows": len(kept[0])}))


def peak() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--only", choices=("fifth", "lean", "full", "parquet"))
    parser.add_argument("--system", help="one system in this process; with --file")
    parser.add_argument("--file", type=Path)
    A = parser.parse_args()
    if A.system:
        one(A.system, A.file)
    else:
        if A.fresh:
            RUNS_FILE.unlink(missing_ok=True)
        everything(A.items, A.repetitions, A.only)
