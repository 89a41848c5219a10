"""`engine=…`: where the relational steps of preparation run when one machine's memory is not enough."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.errors import UserError, nearest
from shopkeeper.events.dataset import DatasetConfig
from shopkeeper.events.filters import Row
from shopkeeper.events.log import _judge, read_log, reasons
from shopkeeper.events.order import Arranged

ENGINES = ("polars", "spark")
NEEDS_THE_LOG = ("consent", "identity", "erasure", "pseudonyms")  # they change the log in this process's memory
log = logging.getLogger(__name__)


def is_in_memory(engine: Mapping[str, Any] | None) -> bool:
    """Whether an engine config means the default; a `UserError` names the nearest engine for an unknown one."""
    name = str((engine or {}).get("name", "polars"))
    if name not in ENGINES:
        raise UserError(f"engine: unknown engine '{name}'.{nearest(name, ENGINES)}")
    return name == "polars"


def prepare_on_spark(
    config: DatasetConfig, raw: Path, engine: Mapping[str, Any], changed: bool = False
) -> tuple[Arranged, pa.Table, list[Row]]:
    """Read, check, filter, number and sort on Spark: the arranged log, the rejected rows and the table of filters.

    The driver holds what is written in the end (the columns of the kept events, the texts of the ids), not the raw
    data. `changed`: the log is to be changed between checks and filters, which this engine does not do (`UserError`).
    """
    from shopkeeper.events import engine_plan, engine_spark

    for key in engine:
        if key not in engine_spark.OPTIONS:
            raise UserError(f"unknown option `engine.{key}`.{nearest(str(key), engine_spark.OPTIONS)}")
    wanted = [key for key in NEEDS_THE_LOG if config.plain.get(key)]
    wanted += ["ties.order"] if (config.plain.get("ties") or {}).get("order") == "shuffled" else []
    wanted = wanted or (["a change of the log"] if changed else [])
    if wanted:
        raise UserError(f"engine=spark does not apply {', '.join(wanted)} (dataset '{config.name}'); use engine=polars")
    with engine_spark.session(engine) as spark:
        checked, rejected, kept = engine_spark.read(spark, config, raw)
        _judge(rejected, kept, config)
        for column, reason, count in reasons(rejected):
            log.info("rejected %8s  %s: %s", f"{count:,}", column, reason)
        arranged, filters = engine_plan.arrange(checked, config.filters, engine_spark.settle)
    return arranged, rejected, filters


def prepare_on_polars(config: DatasetConfig, raw: Path) -> tuple[Arranged, pa.Table, list[Row]]:
    """The same plan on Polars' lazy frames, for comparing engines; `engine=polars` itself works on flat arrays."""
    import narwhals as nw
    import polars as pl

    from shopkeeper.events import engine_plan

    events = read_log(config, raw, progress=False)
    columns: dict[str, Any] = {"place": np.arange(len(events)), "event_type": events.event_type}
    columns["time"] = np.zeros(len(events), np.int64) if events.timestamp is None else events.timestamp
    columns |= {name: v for name in ("price", "quantity") if (v := getattr(events, name)) is not None}
    ids = {name: f"id{i}" for i, name in enumerate(events.ids)} | {"user_id": "user", "item_id": "item"}
    for name, column in ids.items():
        codes = events.ids[name].codes
        columns[column] = pl.from_arrow(events.ids[name].values.take(pa.array(codes, mask=codes < 0)))
    checked = engine_plan.Checked(nw.from_native(pl.LazyFrame(columns)), ids, events.timestamp is not None)

    def settle(frame: engine_plan.Frame) -> engine_plan.Frame:
        return frame.collect(backend="polars").lazy()

    arranged, filters = engine_plan.arrange(checked, config.filters, settle)
    return arranged, events.rejected, filters
