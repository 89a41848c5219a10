"""From the CSV log to arrays to train from, by one system, in this process: `prepare_systems.py NAME --rows N`.

Peers run in environments of their own. Prints the seconds by stage, the processors' seconds and the peak memory as
JSON; times exclude imports.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from _log import COLUMNS, DATA, ROWS, THREADS, K

ENGINES = ("arrays", "polars", "duckdb")


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
        status = Path("/proc/self/status").read_text().splitlines()  # `ru_maxrss` begins with its parent's
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**20
        return {"seconds": self.last - self.start, "cpu_seconds": time.process_time() - self.cpu, "peak_gib": peak,
                "stages": self.stages, "kept": [int(rows), int(users), int(items)], "version": version}  # fmt: skip


def config(path: Path) -> dict:
    return {
        "name": "bench", "raw": {"folder": "", "files": [path.name]}, "reader": {"format": "csv"},
        "columns": {name: name for name in COLUMNS}, "timestamp": {"unit": "s"}, "event_type": "view",
        "filters": {"k_core": K}, "max_rejected_share": 0,
    }  # fmt: skip


def shopkeeper(path: Path, out: Path) -> dict:
    """The listed steps by this project's own functions: no check of a row, no events.parquet."""
    import pyarrow as pa

    from shopkeeper.arrange.filters import apply_filters
    from shopkeeper.arrange.order import arrange
    from shopkeeper.arrange.writer import write_arrays, write_table
    from shopkeeper.ingest.checks import wanted_columns
    from shopkeeper.ingest.dataset import parse
    from shopkeeper.ingest.log import Log, join_ids
    from shopkeeper.ingest.readers import reader
    from shopkeeper.ingest.values import as_ids

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

    from shopkeeper.arrange.filters import apply_filters
    from shopkeeper.arrange.order import arrange
    from shopkeeper.arrange.writer import write_arrays, write_table
    from shopkeeper.ingest.dataset import parse
    from shopkeeper.ingest.log import read_log

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
    from shopkeeper.arrange.prepare import prepare_dataset
    from shopkeeper.data.prepared import Prepared
    from shopkeeper.splits.write import write_split

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

    from shopkeeper.arrange import engine_plan  # noqa: F401
    from shopkeeper.arrange.engine import run_engine
    from shopkeeper.arrange.engine_settings import Engine
    from shopkeeper.ingest.dataset import parse

    clock = Clock()
    arranged = run_engine(Engine(name), parse(config(path)), path.parent, progress=False).arranged
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


SYSTEMS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "shopkeeper": shopkeeper, "shopkeeper-checked": shopkeeper_checked, "shopkeeper-everything": shopkeeper_everything,
    "polars": plain_polars, "duckdb": plain_duckdb, "rectools": rectools, "replay": replay, "recbole": recbole,
    **{f"engine={name}": partial(by_engine, name) for name in ENGINES},
}  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SYSTEMS)
    parser.add_argument("--rows", type=int, default=ROWS)
    A = parser.parse_args()
    folder = DATA / f"out-{A.name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if A.name.startswith(("shopkeeper", "engine=")):
        from shopkeeper import startup

        startup.arrow_from_jemalloc()  # as each verb
    print(json.dumps(SYSTEMS[A.name](DATA / f"log{A.rows}.csv", folder)))
    shutil.rmtree(folder)
