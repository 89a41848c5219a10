"""`engine=…`: what computes the relational steps of preparation (filters, numbering, sort). All write the same bytes.

    arrays   flat NumPy arrays: the default; of the engines on one machine the fastest and the smallest in memory
    polars   the plan of `engine_plan` on Polars' lazy frames
    duckdb   the same plan on DuckDB
    spark    the same plan on Apache Spark, whose workers also read and check the files (`engine_spark`)

The first three read and check with this process's readers. So does Spark where something looks at the whole log
(consent, identities, erasure, pseudonyms, queries, tables) or makes events of an export's rows (`steps`, `rows`,
`logs`, `optional`, `order_by`, nested columns), which says it: it is handed the checked log then, as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.arrange.engine_settings import Engine, check_spark_installed
from shopkeeper.arrange.filters import Row, apply_filters
from shopkeeper.arrange.order import Arranged, arrange, with_customers
from shopkeeper.arrange.order_numbers import keep_first_sendings, plain_numbers, split_orders
from shopkeeper.arrange.queries import settle_queries
from shopkeeper.errors import UserError
from shopkeeper.ingest.dataset import DatasetConfig
from shopkeeper.ingest.log import Log, judge, read_log
from shopkeeper.ingest.rows import is_reshaped
from shopkeeper.ingest.table import one_row_each

# They are done in this process's memory.
NEEDS_THE_LOG = ("consent", "identity", "erasure", "pseudonyms", "table", "steps", "logs", "optional", "order_by")
Change = Callable[[Log], dict[str, Any] | None]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What an engine made of the raw files."""

    arranged: Arranged
    rejected: pa.Table
    filters: list[Row]  # the table of counts
    changes: dict[str, Any] | None  # what `change` returned


def run_engine(
    engine: Engine,
    config: DatasetConfig,
    raw: Path,
    change: Change | None = None,
    progress: bool = True,
) -> Outcome:
    """Read, check, change, filter, number and sort with an engine.

    Raises `UserError` for what the engine cannot do, and for everything that is wrong with the data.
    """
    if engine.name == "spark":
        check_spark_installed()  # before a long log is read
        if not (here := _read_here(config, change)):
            return _on_spark(engine, config, raw)
        log.info("this machine reads and checks the log (%s), Spark takes it from there", ", ".join(here))
    events = read_log(config, raw, progress)
    once = one_row_each(events, config.table, config.name) if config.table is not None else {}
    changes = change(events) if change is not None else None
    keep_first_sendings(events, config)  # after links between customers were read out of what is sent again
    left_out = {"left_out": events.left_out} if events.left_out else {}
    changes = {**left_out, **once, **(changes or {})} or changes
    if "query" in config.columns and len(events):
        settle_queries(events, config.queries.customers, config.queries.buckets)
    split_orders(events, config.zone, config.order_days)
    if not len(events):
        raise UserError(f"dataset '{config.name}': no event is left; see the settings of consent and erasure")
    rejected = events.rejected
    if engine.name == "arrays":
        filters = apply_filters(events, config.filters, config.zone)
        return Outcome(arrange(events), rejected, filters, changes)
    arranged, filters = _by_plan(events, config, engine)
    return Outcome(arranged, rejected, filters, changes)


def _by_plan(events: Log, config: DatasetConfig, engine: Engine) -> tuple[Arranged, list[Row]]:
    """The plan over a log that this process has read, whose ids the engine sees as codes. The log is used up."""
    from shopkeeper.arrange import engine_plan

    table, ids = _as_table(events)
    texts = {name: column.values for name, column in events.ids.items()}
    timed = events.timestamp is not None
    held = {"polars": _polars, "duckdb": _duckdb, "spark": _spark}[engine.name]
    with held(table, engine) as (frame, settle):
        del table
        checked = engine_plan.Checked(frame, ids, timed, config.zone, texts)
        arranged, counts = engine_plan.arrange(checked, config.filters, settle)
    return with_customers(arranged, events, texts["user_id"]), counts


def _as_table(events: Log) -> tuple[pa.Table, dict[str, str]]:
    ids = {name: f"id{i}" for i, name in enumerate(events.ids)} | {"user_id": "user", "item_id": "item"}
    columns: dict[str, Any] = {"place": np.arange(len(events)), "event_type": events.event_type}
    columns["time"] = np.zeros(len(events), np.int64) if events.timestamp is None else events.timestamp
    columns |= {name: v for name in ("price", "quantity") if (v := getattr(events, name)) is not None}
    for name, column in ids.items():
        codes = events.ids[name].codes
        columns[column] = pa.array(codes, mask=codes < 0)
    return pa.table(columns), ids


Held = Iterator[tuple[Any, Callable[[Any], Any]]]


@contextmanager
def _polars(table: pa.Table, engine: Engine) -> Held:
    import narwhals as nw
    import polars as pl

    yield nw.from_native(pl.DataFrame(pl.from_arrow(table)).lazy()), lambda frame: frame.collect("polars").lazy()


@contextmanager
def _duckdb(table: pa.Table, engine: Engine) -> Held:
    import duckdb
    import narwhals as nw

    connection = duckdb.connect()
    connection.execute("SET preserve_insertion_order = false")  # no step looks at the order in which rows are held
    names = (f"settled_{i}" for i in count())

    def settle(frame: Any) -> Any:
        name = next(names)
        nw.to_native(frame).create(name)
        return nw.from_native(connection.table(name))

    yield nw.from_native(connection.from_arrow(table)), settle


@contextmanager
def _spark(table: pa.Table, engine: Engine) -> Held:
    import narwhals as nw

    from shopkeeper.arrange import engine_spark
    from shopkeeper.arrange.start_spark import session

    with session(engine) as spark:
        yield engine_spark.settle(nw.from_native(spark.createDataFrame(table))), engine_spark.settle


def _read_here(config: DatasetConfig, change: Change | None) -> list[str]:
    """What of a dataset Spark's workers cannot do, each of which sees some rows of the files."""
    from shopkeeper.arrange import engine_spark

    wanted = [key for key in NEEDS_THE_LOG if config.plain.get(key)]
    wanted += ["ties.order"] if (config.plain.get("ties") or {}).get("order") == "shuffled" else []
    wanted += ["rows.orders"] if config.rows.once_each else []
    wanted += ["columns.query"] if "query" in config.columns else []  # who asked what is counted over the whole log
    wanted += ["rows, nested columns and event_type.others"] if is_reshaped(config, config.columns.values()) else []
    wanted += engine_spark.unread(config.reader)
    return wanted or (["a change of the log"] if change is not None else [])


def _on_spark(engine: Engine, config: DatasetConfig, raw: Path) -> Outcome:
    """The driver holds what is written in the end (columns of the kept events, texts of the ids), not the raw data."""
    from shopkeeper.arrange import engine_plan, engine_spark
    from shopkeeper.arrange.start_spark import session

    with session(engine) as spark:
        checked, rejected, kept = engine_spark.read(spark, config, raw)
        judge(rejected, kept, config)
        arranged, filters = engine_plan.arrange(checked, config.filters, engine_spark.settle)
        if "order_id" in arranged.names:
            arranged.names["order_id"] = plain_numbers(arranged.names["order_id"])
    return Outcome(arranged, rejected, filters, None)
