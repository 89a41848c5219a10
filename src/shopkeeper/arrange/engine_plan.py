"""The relational steps of preparation as lazy Narwhals code, written once: Polars, DuckDB and Spark run these lines.

A checked frame has a row per event that passed the checks, in no particular order: `place` (int64, the position in
the raw files: file order), `time` (int64 microseconds UTC, 0 where the data has only an order), `event_type` (int8),
`price` and `quantity` (float64) where the data has them, and columns of ids (texts, or codes into `Checked.texts`),
`user` and `item` among them. Every step is defined by `place` and `time`, never by the order in which an engine
happens to hold rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import narwhals as nw
import numpy as np
import pyarrow as pa

from shopkeeper.arrange.filters import Row, repeats_of
from shopkeeper.arrange.order import COLUMN_OF, Arranged
from shopkeeper.data.stored import code_type
from shopkeeper.errors import UserError
from shopkeeper.ingest.dataset_parts import Bots, Filters
from shopkeeper.schema import MICROSECONDS_PER_DAY, event_codes
from shopkeeper.timeline.zones import changes_between, days_before

Frame: TypeAlias = "nw.LazyFrame[Any]"
Settle = Callable[[Frame], Frame]  # computes a frame now, so that later steps do not compute it again
LONG_AGO = 1_000_000 * MICROSECONDS_PER_DAY  # added to a time before `%`: engines differ on negative numbers


@dataclass(frozen=True)
class Checked:
    """A checked frame: `ids` maps our name of an id column (user_id, "file:brand", …) to its column in the frame."""

    frame: Frame
    ids: Mapping[str, str]
    timed: bool
    zone: str
    texts: Mapping[str, pa.Array] | None = None  # our name -> what the codes in its column stand for; None: texts


def arrange(checked: Checked, filters: Filters, settle: Settle) -> tuple[Arranged, list[Row]]:
    """Filter, number, sort: the same result as `filters.apply_filters` and `order.arrange` give in memory."""
    frame, table = apply_filters(checked, filters, settle)
    numbers = {name: settle(numbered(frame, column)) for name, column in checked.ids.items()}
    for name, ids in numbers.items():
        frame = frame.join(ids, on=checked.ids[name], how="left").drop(checked.ids[name])
    frame = frame.sort(_id(checked.ids["user_id"]), "time", "place")
    rows = frame.collect(backend="pyarrow").to_arrow()
    names = {name: _texts(ids, name, checked) for name, ids in numbers.items()}
    return _arranged(rows, names, checked), table


def numbered(frame: Frame, column: str) -> Frame:
    """Each id of a column with its number, dense from 1 by first appearance in (time, place); missing ids have none.

    Only the distinct ids meet in one place, not the events.
    """
    known = frame.filter(~nw.col(column).is_null())
    first = known.filter(nw.col("time") == nw.col("time").min().over(column))
    first = first.group_by(column).agg(nw.col("time").min(), nw.col("place").min())
    number = nw.col("place").cum_count().over(order_by=["time", "place"])
    return first.select(column, number.cast(nw.Int32).alias(_id(column)))


def apply_filters(checked: Checked, filters: Filters, settle: Settle) -> tuple[Frame, list[Row]]:
    """The frame without the rows that the filters drop, and the table of counts; order as in `filters.py`."""
    frame, table, asked = checked.frame, list[Row](), filters.asked
    count = _count(frame) if asked else {}

    def drop(name: str, kept: Frame) -> None:
        nonlocal frame, count
        setting = asked[name]
        frame, before = settle(kept), count
        count = _count(frame)
        table.append({"filter": name, "setting": setting, **_named(before, "before"), **_named(count, "after")})
        if not count["rows"]:
            raise UserError(f"filters.{name}={setting} leaves no rows of {before['rows']:,}; relax it")

    for name in ("retention_days", "repeats", "bots"):
        if name in asked and not checked.timed:
            raise UserError(f"filters.{name} needs time stamps, and this data has only an order; remove it")
    if filters.event_types:
        drop("event_types", frame.filter(nw.col("event_type").is_in(event_codes(list(filters.event_types)))))
    if filters.retention_days:
        last = int(frame.select(nw.col("time").max()).collect(backend="pyarrow").item())
        oldest = days_before(last, float(filters.retention_days), checked.zone)
        drop("retention_days", frame.filter(nw.col("time") >= oldest))
    if filters.repeats:
        span, orders = repeats_of(filters.repeats, "order_id" in checked.ids)
        drop("repeats", _without_sent_again(frame, checked.ids, span, orders, filters.repeats.at_once))
    if filters.bots:
        drop("bots", _without_bots(frame, filters.bots, checked.zone))
    if filters.consecutive_repeats:
        drop("consecutive_repeats", _without_repeats(frame))
    if filters.k_core:
        drop("k_core", k_core(frame, filters.k_core, settle))
    if filters.min_history:
        drop("min_history", frame.filter(nw.len().over("user") >= filters.min_history))
    if filters.max_history:
        drop("max_history", frame.filter(nw.len().over("user") <= filters.max_history))
    return frame, table


def k_core(frame: Frame, k: int, settle: Settle) -> Frame:
    """Rows left when users and items with fewer than `k` rows are dropped until none is left (Seidman 1983).

    Rounds look at pairs of user and item with their number of rows, not at the rows.
    """
    pairs = settle(frame.group_by("user", "item").agg(nw.len().alias("n")))
    before, now = -1, _rows(pairs)
    while now != before:
        pairs = pairs.filter(nw.col("n").sum().over("user") >= k).filter(nw.col("n").sum().over("item") >= k)
        pairs = settle(pairs)
        before, now = now, _rows(pairs)
    return frame.join(pairs.select("user", "item"), on=["user", "item"], how="semi")


def _without_bots(frame: Frame, limits: Bots, zone: str) -> Frame:
    kept, hour, day = frame, MICROSECONDS_PER_DAY // 24, MICROSECONDS_PER_DAY
    for most, span in ((limits.per_hour, hour), (limits.per_day, day)):
        if most:
            shown = nw.col("time") + _ahead(frame, zone, span if span == hour else None)
            cell = shown - (shown + LONG_AGO) % span
            counts = frame.with_columns(cell=cell).group_by("user", "cell").agg(nw.len().alias("n"))
            bots = counts.filter(nw.col("n") > most).select("user").unique()
            kept = kept.join(bots, on="user", how="anti")
    return kept


def _ahead(frame: Frame, zone: str, within: int | None) -> Any:
    """How far the shop's clock is ahead of UTC at each row's time, µs, or the part of it that is `within` a span."""
    ends = frame.select(first=nw.col("time").min(), last=nw.col("time").max()).collect(backend="pyarrow")
    changes, shifts = changes_between(ends["first"].item(), ends["last"].item(), zone)
    shifts = shifts if within is None else shifts % within
    ahead = nw.lit(int(shifts[0]))
    for change, by in zip(changes.tolist(), np.diff(shifts).tolist(), strict=True):
        if by:
            ahead = ahead + nw.when(nw.col("time") >= change).then(nw.lit(by)).otherwise(nw.lit(0))
    return ahead


def _without_sent_again(frame: Frame, ids: Mapping[str, str], span: int, orders: bool, at_once: bool) -> Frame:
    names = ["user", "item", "event_type", *([ids["order_id"]] if "order_id" in ids else [])]
    names += [name for name in ("quantity", "price") if name in frame.collect_schema().names()]
    wait = nw.col("time") - nw.col("time").shift(1).over(*names, order_by=["time", "place"])
    again = (wait <= span).fill_null(False)
    if orders:
        again = again & ~nw.col(ids["order_id"]).is_null()
    frame = frame.with_columns(repeat=again if at_once else again & (wait > 0).fill_null(False))
    if not at_once:
        frame = frame.with_columns(repeat=nw.col("repeat").cast(nw.Int8).max().over(*names, "time") > 0)
    return frame.filter(~nw.col("repeat")).drop("repeat")


def _without_repeats(frame: Frame) -> Frame:
    same = [
        (nw.col(name) == nw.col(name).shift(1).over("user", order_by=["time", "place"])).fill_null(False)
        for name in ("item", "event_type")
    ]
    return frame.with_columns(repeat=same[0] & same[1]).filter(~nw.col("repeat")).drop("repeat")


def _count(frame: Frame) -> dict[str, int]:
    counts = frame.select(
        nw.len().alias("rows"), nw.col("user").n_unique().alias("users"), nw.col("item").n_unique().alias("items")
    )
    found = counts.collect(backend="pyarrow").to_arrow().to_pydict()
    return {name: int(n[0] or 0) for name, n in found.items()}  # of no rows DuckDB and Spark count null users


def _named(count: Mapping[str, int], when: str) -> Row:
    return {f"{name}_{when}": n for name, n in count.items()}


def _rows(frame: Frame) -> int:
    return int(frame.select(nw.len()).collect(backend="pyarrow").item())


def _id(column: str) -> str:
    return f"{column}_number"


def _texts(ids: Frame, name: str, checked: Checked) -> pa.Array:
    """The text of id 1, 2, …"""
    column = checked.ids[name]
    table = ids.collect(backend="pyarrow").to_arrow()
    found = table[column].combine_chunks().take(pa.array(np.argsort(table[_id(column)].to_numpy())))
    return found.cast(pa.string()) if checked.texts is None else checked.texts[name].take(found)


def _arranged(rows: pa.Table, names: dict[str, pa.Array], checked: Checked) -> Arranged:
    def numbers(name: str, missing: int = 0) -> np.ndarray:
        column = rows[name]
        return (column.fill_null(missing) if column.null_count else column).to_numpy()

    user = numbers(_id(checked.ids["user_id"]))
    offsets = np.zeros(len(names["user_id"]) + 1, np.int64)
    np.cumsum(np.bincount(user, minlength=len(offsets))[1:], out=offsets[1:])
    types = {"channel": code_type(len(names.get("channel", ())))}
    columns = {
        COLUMN_OF.get(name, name): numbers(_id(column)).astype(types.get(name, np.int32), copy=False)
        for name, column in checked.ids.items()
        if name != "user_id"
    }
    columns["event_type"] = numbers("event_type").astype(np.int8, copy=False)
    if checked.timed:
        columns["timestamp"] = numbers("time")
    columns |= {name: numbers(name) for name in ("price", "quantity") if name in rows.column_names}
    return Arranged(offsets, columns, names, numbers("place"))
