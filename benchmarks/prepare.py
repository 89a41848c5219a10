"""How fast, and in how much memory, a CSV log becomes arrays to train from: this project, plain scripts, three peers.

    python benchmarks/prepare.py                   # measure what is not measured yet, write results/prepare.json
    python benchmarks/prepare.py --fresh           # forget earlier measurements (data/bench/runs.jsonl) first
    python benchmarks/prepare.py --one NAME        # one system in this process; peers in .venv-<peer>

The log: 10 million rows (user, item, time, type, price; text ids) of 200,000 users and 50,000 items whose popularity
falls as (rank + 20)^-0.9, in time order. The steps: read CSV, 5-core, encode ids, sort by user and time, write arrays
and id tables. Each system runs in a process of its own with two threads, in turn; times exclude imports; memory is the
peak of the process. `shopkeeper` is shown three times: the listed steps alone, the same with every check of a row, and
everything that `prepare` does: checks, `events.parquet`, hashes, a leave-one-out split and its audit. The engines of
one machine (arrays, the default; polars and duckdb, which run Spark's plan) read, check, filter, number and sort a log
of 2 million rows.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data" / "bench"
RUNS = DATA / "runs.jsonl"
ROWS, BIG, CHUNK, K, THREADS = 10_000_000, 100_000_000, 5_000_000, 5, 2
COLUMNS = ["user_id", "item_id", "timestamp"]
OURS = ("shopkeeper", "shopkeeper-checked", "shopkeeper-everything")
PLAIN = ("polars", "duckdb")
ENGINES, ENGINE_ROWS = ("arrays", "polars", "duckdb"), 2_000_000
PEERS = {"rectools": 2, "replay": 4, "recbole": 2}  # repetitions: they are slow


def generate(rows: int) -> Path:
    """The log as CSV and, up to 10 million rows, as RecBole's atomic file; in chunks, under a temporary name."""
    import polars as pl

    path, inter = DATA / f"log{rows}.csv", DATA / f"log{rows}" / f"log{rows}.inter"
    if path.is_file():
        return path
    inter.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    kinds = pl.Series(["view", "cart", "wish", "purchase"])
    users, items = rows // 50, rows // 200
    draw = {}
    for name, n in (("u", users), ("i", items)):
        weight = np.cumsum((np.arange(n) + 20.0) ** -0.9)
        draw[name] = (weight / weight[-1], rng.permutation(n))
    price = np.round(rng.gamma(2.0, 15.0, items), 2)
    start, year = 1_700_000_000, 365 * 86400
    with open(path.with_suffix(".tmp"), "wb") as csv, open(inter, "wb") as atomic:
        for at in range(0, rows, CHUNK):
            n = min(CHUNK, rows - at)
            u, i = (order[np.searchsorted(cdf, rng.random(n))] for cdf, order in draw.values())
            t = np.sort(rng.integers(start + year * at // rows, start + year * (at + n) // rows, n))
            kind = kinds.gather(rng.choice(4, n, p=[0.85, 0.08, 0.02, 0.05]))
            frame = pl.DataFrame({"u": u, "i": i, "timestamp": t, "event_type": kind, "price": price[i]})
            frame = frame.select(
                user_id=pl.format("u{}", pl.col("u").cast(pl.String).str.zfill(7)),
                item_id=pl.format("i{}", pl.col("i").cast(pl.String).str.zfill(6)),
                timestamp="timestamp", event_type="event_type", price="price",
            )  # fmt: skip
            frame.write_csv(csv, include_header=at == 0)
            if rows <= ROWS:
                names = ["user_id:token", "item_id:token", "timestamp:float"]
                three = frame.select(COLUMNS).with_columns(pl.col("timestamp").cast(pl.Float64))
                three.rename(dict(zip(COLUMNS, names, strict=True))).write_csv(
                    atomic, include_header=at == 0, separator="\t"
                )
    os.replace(path.with_suffix(".tmp"), path)
    return path


def config(path: Path) -> dict:
    return {
        "name": "bench", "raw": {"folder": "", "files": [path.name]}, "reader": {"format": "csv"},
        "columns": {name: name for name in COLUMNS}, "timestamp": {"unit": "s"}, "event_type": "view",
        "filters": {"k_core": K}, "max_rejected_share": 0,
    }  # fmt: skip


def shopkeeper(path: Path, out: Path) -> dict:
    """The listed steps by this project's own functions: no check of a row, no events.parquet."""
    import pyarrow as pa

    from shopkeeper.events.checks import wanted_columns
    from shopkeeper.events.dataset import parse
    from shopkeeper.events.filters import apply_filters
    from shopkeeper.events.log import Log, join_ids
    from shopkeeper.events.order import arrange
    from shopkeeper.events.readers import reader
    from shopkeeper.events.values import as_ids
    from shopkeeper.events.writer import write_arrays, write_table

    clock = Clock()
    spec = parse(config(path))
    users, items, times = [], [], []
    for block in reader("csv")(path, wanted_columns(spec), spec.reader, None):
        for batch in block.table.to_batches():
            users.append(as_ids(batch.column("user_id"), "user_id"))
            items.append(as_ids(batch.column("item_id"), "item_id"))
            times.append(batch.column("timestamp").to_numpy() * 1_000_000)
    ids = {"user_id": join_ids(users), "item_id": join_ids(items)}
    log = Log(ids, np.ones(sum(map(len, times)), np.int8), np.concatenate(times))
    del times
    clock.lap("read")
    apply_filters(log, spec.filters)
    clock.lap("5-core")
    arranged = arrange(log)
    clock.lap("encode and sort")
    write_arrays(out, arranged)
    for name, texts in arranged.names.items():
        write_table(out / f"{name}.parquet", pa.table({name: texts}))
    clock.lap("write")
    return clock.figures(arranged.offsets[-1], len(arranged.names["user_id"]), len(arranged.names["item_id"]))


def shopkeeper_checked(path: Path, out: Path) -> dict:
    """The listed steps with every check of every row."""
    import pyarrow as pa

    from shopkeeper.events.dataset import parse
    from shopkeeper.events.filters import apply_filters
    from shopkeeper.events.log import read_log
    from shopkeeper.events.order import arrange
    from shopkeeper.events.writer import write_arrays, write_table

    clock = Clock()
    spec = parse(config(path))
    log = read_log(spec, path.parent, progress=False)
    clock.lap("read and check")
    apply_filters(log, spec.filters)
    clock.lap("5-core")
    arranged = arrange(log)
    clock.lap("encode and sort")
    write_arrays(out, arranged)
    for name, texts in arranged.names.items():
        write_table(out / f"{name}.parquet", pa.table({name: texts}))
    clock.lap("write")
    return clock.figures(arranged.offsets[-1], len(arranged.names["user_id"]), len(arranged.names["item_id"]))


def shopkeeper_everything(path: Path, out: Path) -> dict:
    """All of `prepare`: checks, arrays, events.parquet, hashes, manifest, and a split with the always-on audit."""
    from shopkeeper.events.prepare import prepare_dataset
    from shopkeeper.events.splits import write_split
    from shopkeeper.sequences.prepared import Prepared

    clock = Clock()
    prepared = Prepared.open(prepare_dataset(config(path), path.parent, out / "prepared", progress=False))
    clock.lap("prepare")
    split = {"name": "leave_one_out", "protocol": "published", "target_events": ["view"]}
    write_split(prepared, split)
    clock.lap("split and audit")
    return clock.figures(prepared.manifest["n_events"], prepared.n_users, prepared.n_items)


def by_engine(name: str, path: Path, out: Path) -> dict:
    """Read, check, 5-core, number and sort with an engine of this project."""
    import duckdb  # noqa: F401 (here, so that no engine's time counts an import)
    import narwhals  # noqa: F401
    import polars  # noqa: F401

    from shopkeeper.events import engine_plan  # noqa: F401
    from shopkeeper.events.dataset import parse
    from shopkeeper.events.engine import run_engine

    clock = Clock()
    arranged = run_engine({"name": name}, parse(config(path)), path.parent, progress=False).arranged
    clock.lap("all steps but writing")
    return clock.figures(arranged.offsets[-1], len(arranged.names["user_id"]), len(arranged.names["item_id"]))


def plain_polars(path: Path, out: Path) -> dict:
    import polars as pl

    clock = Clock()
    log = pl.read_csv(path, columns=COLUMNS)
    clock.lap("read")
    rows = -1
    while rows != log.height:
        rows = log.height
        log = log.filter(pl.len().over("user_id") >= K).filter(pl.len().over("item_id") >= K)
    clock.lap("5-core")
    for name in ("user_id", "item_id"):
        texts = log[name].unique().sort()
        texts.to_frame().write_parquet(out / f"{name}.parquet")
        log = log.with_columns(pl.col(name).replace_strict(texts, pl.int_range(len(texts), dtype=pl.Int32, eager=True)))
    clock.lap("encode")
    log = log.sort("user_id", "timestamp", maintain_order=True)
    clock.lap("sort")
    counts = np.bincount(log["user_id"].to_numpy())
    np.save(out / "offsets.npy", np.concatenate([[0], np.cumsum(counts)]))
    np.save(out / "item.npy", log["item_id"].to_numpy())
    clock.lap("write")
    return clock.figures(log.height, len(counts), log["item_id"].n_unique(), pl.__version__)


def plain_duckdb(path: Path, out: Path) -> dict:
    import duckdb

    clock = Clock()
    sql = duckdb.connect().execute
    sql(f"SET preserve_insertion_order = false; SET threads = {THREADS}")
    sql(f"CREATE TABLE log AS SELECT user_id, item_id, timestamp FROM read_csv('{path}')")
    clock.lap("read")
    rows, now = -1, sql("SELECT count(*) FROM log").fetchone()[0]
    while rows != now:
        rows = now
        for name in ("user_id", "item_id"):
            many = f"SELECT {name} FROM log GROUP BY 1 HAVING count(*) >= {K}"
            sql(f"CREATE OR REPLACE TABLE log AS SELECT * FROM log SEMI JOIN ({many}) USING ({name})")
        now = sql("SELECT count(*) FROM log").fetchone()[0]
    clock.lap("5-core")
    for name in ("user_id", "item_id"):
        code = f"(row_number() OVER (ORDER BY {name}) - 1)::INTEGER AS {name[0]}"
        sql(f"CREATE TABLE {name}s AS SELECT {name}, {code} FROM (SELECT DISTINCT {name} FROM log)")
        sql(f"COPY {name}s TO '{out / name}.parquet'")
    clock.lap("encode")
    found = sql("SELECT u, i FROM log JOIN user_ids USING (user_id) JOIN item_ids USING (item_id) "
                "ORDER BY u, timestamp, i").fetchnumpy()  # fmt: skip
    clock.lap("sort")
    counts = np.bincount(found["u"])
    np.save(out / "offsets.npy", np.concatenate([[0], np.cumsum(counts)]))
    np.save(out / "item.npy", np.asarray(found["i"]))
    clock.lap("write")
    return clock.figures(len(found["i"]), len(counts), int(found["i"].max()) + 1, duckdb.__version__)


def rectools(path: Path, out: Path) -> dict:
    """pandas for reading and the 5-core (RecTools has none), then `Dataset.construct`."""
    import pandas as pd
    import rectools as package
    from rectools.dataset import Dataset

    clock = Clock()
    log = pd.read_csv(path, usecols=COLUMNS)
    clock.lap("read")
    rows = -1
    while rows != len(log):
        rows = len(log)
        for name in ("user_id", "item_id"):
            log = log[log.groupby(name)[name].transform("size") >= K]
    clock.lap("5-core")
    log["datetime"] = pd.to_datetime(log.pop("timestamp"), unit="s")
    log["weight"] = 1.0
    dataset = Dataset.construct(log)
    clock.lap("construct")
    sizes = dataset.user_id_map.external_ids.size, dataset.item_id_map.external_ids.size
    return clock.figures(len(dataset.interactions.df), *sizes, package.__version__)


def replay(path: Path, out: Path) -> dict:
    """RePlay on Polars, the fastest of its backends: MinCountFilter until nothing changes, then SequenceTokenizer."""
    import warnings

    warnings.filterwarnings("ignore")
    import polars as pl
    import replay as package
    from replay.data import Dataset, FeatureHint, FeatureInfo, FeatureSchema, FeatureSource, FeatureType
    from replay.data.nn import SequenceTokenizer, TensorFeatureInfo, TensorFeatureSource, TensorSchema
    from replay.preprocessing.filters import MinCountFilter

    clock = Clock()
    log = pl.read_csv(path, columns=COLUMNS)
    clock.lap("read")
    rows = -1
    while rows != len(log):
        rows = len(log)
        for name in ("user_id", "item_id"):
            log = MinCountFilter(num_entries=K, groupby_column=name).transform(log)
    clock.lap("5-core")
    schema = FeatureSchema([
        FeatureInfo("user_id", FeatureType.CATEGORICAL, FeatureHint.QUERY_ID),
        FeatureInfo("item_id", FeatureType.CATEGORICAL, FeatureHint.ITEM_ID),
        FeatureInfo("timestamp", FeatureType.NUMERICAL, FeatureHint.TIMESTAMP),
    ])  # fmt: skip
    source = TensorFeatureSource(FeatureSource.INTERACTIONS, "item_id")
    item = TensorFeatureInfo(
        "item_id", FeatureType.CATEGORICAL, is_seq=True, feature_hint=FeatureHint.ITEM_ID, feature_sources=[source]
    )
    tokenizer = SequenceTokenizer(TensorSchema([item]), allow_collect_to_master=True)
    sequences = tokenizer.fit_transform(Dataset(feature_schema=schema, interactions=log))
    clock.lap("Dataset and SequenceTokenizer")
    n_items = len(tokenizer.item_id_encoder.mapping["item_id"])
    return clock.figures(len(log), len(sequences), n_items, package.__version__)


def recbole(path: Path, out: Path) -> dict:
    """`create_dataset` from its atomic file with its own 5-core; its splitting is not counted."""
    sys.argv = sys.argv[:1]  # it reads the command line
    import recbole as package
    from recbole.config import Config
    from recbole.data import create_dataset

    clock = Clock()
    settings = {
        "data_path": str(path.parent), "user_inter_num_interval": f"[{K},inf)", "item_inter_num_interval": f"[{K},inf)",
        "load_col": {"inter": COLUMNS}, "train_neg_sample_args": None, "checkpoint_dir": str(out), "use_gpu": False,
        "show_progress": False, "save_dataset": False, "MAX_ITEM_LIST_LENGTH": 50,
    }  # fmt: skip
    dataset = create_dataset(Config(model="SASRec", dataset=path.stem, config_dict=settings))
    clock.lap("create_dataset")
    return clock.figures(dataset.inter_num, dataset.user_num - 1, dataset.item_num - 1, package.__version__)


SYSTEMS = {
    "shopkeeper": shopkeeper, "shopkeeper-checked": shopkeeper_checked, "shopkeeper-everything": shopkeeper_everything,
    "polars": plain_polars, "duckdb": plain_duckdb, "rectools": rectools, "replay": replay, "recbole": recbole,
    **{f"engine={name}": partial(by_engine, name) for name in ENGINES},
}  # fmt: skip


class Clock:
    """Seconds by stage, seconds of the processors, peak memory."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self.start = self.last = time.perf_counter()
        self.cpu = time.process_time()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.stages[stage] = round(now - self.last, 2)
        self.last = now

    def figures(self, rows: int, users: int, items: int, version: str = "") -> dict:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        return {"seconds": self.last - self.start, "cpu_seconds": time.process_time() - self.cpu, "peak_gib": peak,
                "stages": self.stages, "kept": [int(rows), int(users), int(items)], "version": version}  # fmt: skip


def in_process(name: str, rows: int) -> dict:
    python = str(ROOT / f".venv-{name}" / "bin" / "python") if name in PEERS else sys.executable
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), str(THREADS))
    command = [python, __file__, "--one", name, "--rows", str(rows)]
    done = subprocess.run(command, env={**os.environ, **threads}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr[-2000:]}")
    found = {"system": name, "rows": rows, **json.loads(done.stdout.strip().splitlines()[-1])}
    with RUNS.open("a") as file:
        file.write(json.dumps(found) + "\n")
    print(
        f"{name:22s} {rows:,} rows {found['seconds']:.2f} s {found['peak_gib']:.2f} GiB {found['stages']}", flush=True
    )
    return found


def measured() -> dict[tuple[str, int], list[dict]]:
    found: dict[tuple[str, int], list[dict]] = {}
    for line in RUNS.read_text().splitlines() if RUNS.is_file() else []:
        run = json.loads(line)
        found.setdefault((run["system"], run["rows"]), []).append(run)
    return found


def everything(rows: int, big: int, repetitions: int) -> None:
    generate(rows)
    from _training import environment

    there = [name for name in PEERS if environment(name)]
    wanted = dict.fromkeys((*OURS, *PLAIN), repetitions) | {name: PEERS[name] for name in there}
    for repetition in range(repetitions):  # in turn, so that a busy spell of the machine hits all alike
        for name, times in wanted.items():
            if repetition < times and len(measured().get((name, rows), [])) <= repetition:
                in_process(name, rows)
    generate(ENGINE_ROWS)
    for repetition in range(repetitions):
        for name in ENGINES:
            if len(measured().get((f"engine={name}", ENGINE_ROWS), [])) <= repetition:
                in_process(f"engine={name}", ENGINE_ROWS)
    if big and ("shopkeeper-everything", big) not in measured():
        generate(big)
        in_process("shopkeeper-everything", big)
    report(rows, big)


def report(rows: int, big: int) -> None:
    from _results import at_least, at_most, not_had, row, write_result

    found = measured()
    out = []
    for (name, n), runs in found.items():
        dataset = f"{n:,} rows of CSV"
        out.append(row(name, dataset, "time", "s", [r["seconds"] for r in runs]))
        out.append(row(name, dataset, "processor time", "s", [r["cpu_seconds"] for r in runs]))
        out.append(row(name, dataset, "peak memory", "GiB", [r["peak_gib"] for r in runs]))
        for stage in runs[0]["stages"]:
            out.append(row(name, dataset, f"time of stage: {stage}", "s", [r["stages"][stage] for r in runs]))
    kept = {name: runs[0]["kept"] for (name, n), runs in found.items() if n == rows}
    assert len({tuple(k) for k in kept.values()}) == 1, f"the systems keep different rows, users, items: {kept}"
    time_ = {r["system"]: r["median"] for r in out if r["figure"] == "time" and r["dataset"] == f"{rows:,} rows of CSV"}
    peak = {name: max(r["peak_gib"] for r in runs) for (name, n), runs in found.items() if n == rows}
    plain = min(time_[name] for name in PLAIN)
    ours = time_["shopkeeper-everything"]
    issue = "events"
    claims = [
        at_most(issue, "10 million rows, listed steps without validation, times the faster plain script",
                time_["shopkeeper"] / plain, 1.3),
        at_most(issue, "10 million rows, listed steps with validation, times the faster plain script",
                time_["shopkeeper-checked"] / plain, 2.0),
        at_most(issue, "10 million rows, everything (validation, events.parquet, hashes, split, audit), times the "
                "faster plain script", ours / plain, 2.0),
    ]  # fmt: skip
    texts = {
        "recbole": ("times as fast as RecBole, everything on", 5.0),
        "rectools": ("times as fast as RecTools, everything on", 1.0),
        "replay": ("times as fast as RePlay, everything on", 1.0),
    }
    for name, (text, required) in texts.items():
        if name in time_:
            claims.append(at_least(issue, f"10 million rows, {text}", time_[name] / ours, required))
        else:
            claims.append(not_had(issue, f"10 million rows, {text}", required, f"no environment .venv-{name}"))
    if "recbole" in peak:
        claims.append(at_most(issue, "10 million rows, peak memory over RecBole's, everything on",
                              peak["shopkeeper-everything"] / peak["recbole"], 1 / 3))  # fmt: skip
    else:
        claims.append(
            not_had(issue, "10 million rows, peak memory over RecBole's", 1 / 3, "no environment .venv-recbole")
        )
    large = found.get(("shopkeeper-everything", big))
    if large:
        per_row = large[0]["peak_gib"] / big / (peak["shopkeeper-everything"] / rows)
        claims.append(at_most(issue, f"{big:,} rows on 2 cores, peak memory, GiB", large[0]["peak_gib"], 16))
        claims.append(at_most(issue, f"peak memory per row, {big:,} over {rows:,} rows", per_row, 1))
    else:
        claims.append(not_had(issue, f"{big:,} rows on 2 cores, peak memory, GiB", 16, "not run"))
    for figure, key in (("processor time", "cpu_seconds"), ("peak memory", "peak_gib")):
        of = {name: [r[key] for r in found.get((f"engine={name}", ENGINE_ROWS), [])] for name in ENGINES}
        if all(of.values()):
            ours, *others = (median(values) for values in of.values())
            what = f"{ENGINE_ROWS:,} rows, {figure} of engine=arrays over the better of polars and duckdb"
            claims.append(at_most(issue, what, ours / min(others), 1, kind="aim"))
    versions = {name: runs[0]["version"] for (name, _), runs in found.items() if name in PEERS}
    write_result("prepare", out, claims, versions=versions)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", choices=SYSTEMS)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--big", type=int, default=BIG, help="rows of the large run; 0: none")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--fresh", action="store_true")
    A = parser.parse_args()
    if A.one:
        folder = DATA / f"out-{A.one}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print(json.dumps(SYSTEMS[A.one](DATA / f"log{A.rows}.csv", folder)))
        shutil.rmtree(folder)
    else:
        if A.fresh:
            RUNS.unlink(missing_ok=True)
        everything(A.rows, A.big, A.repetitions)
