"""The one table: a row per question and model, from which every average, interval, slice and test is made.

Columns: who was asked (`request, user, user_id, instant, n_history`), what is true and what was answered (of items, or
of labels: `rows/kinds.py`), one float64 column per metric, slices (`slice:…`). What the figures are conditional on
stands in the schema's metadata as JSON under the key `shopkeeper`. Field by field: `layout.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shopkeeper.errors import UserError, nearest
from shopkeeper.evaluation.intervals import mean_interval
from shopkeeper.evaluation.resampling import drawn_rows
from shopkeeper.evaluation.rows.kinds import Aggregate, Answered, Entry, given, kind_of
from shopkeeper.files import atomic_file
from shopkeeper.metrics.ranking import is_share
from shopkeeper.schema import NO_TIME

if TYPE_CHECKING:
    from shopkeeper.evaluation.profit import Profit

KEY = b"shopkeeper"
SLICE = "slice:"  # how columns of slices begin
WHO = ("request", "user", "user_id", "instant", "n_history")
EARLIER_ORACLES = {"oracle_observable": "observable", "oracle_latent": "latent"}  # whose tables do not say it


def who(
    user_ids: pa.Array, first: int, user: np.ndarray, instant: np.ndarray, n_history: np.ndarray
) -> dict[str, pa.Array]:
    """The columns of who was asked, for n rows that are numbered from `first`.

    Args:
        user_ids: external ids, that of user 1 first.
        user: int (n,), internal ids; 0 for a row without user.
        instant: int64 (n,), microseconds; `NO_TIME` where there is none.
        n_history: events before.
    """
    known = pa.array(user.astype(np.int64) - 1, mask=user < 1)
    return {
        "request": pa.array(np.arange(first, first + len(user), dtype=np.int64)),
        "user": pa.array(user.astype(np.int32)),
        "user_id": user_ids.take(known).cast(pa.string()),
        "instant": pa.array(instant, mask=instant == NO_TIME).cast(pa.timestamp("us", tz="UTC")),
        "n_history": pa.array(n_history.astype(np.int32)),
    }


def batch_of(columns: Mapping[str, pa.Array], metadata: Mapping[str, Any]) -> pa.RecordBatch:
    """Some rows of a table, with what they are conditional on."""
    schema = pa.schema(
        [(name, column.type) for name, column in columns.items()], {KEY: json.dumps(dict(metadata), sort_keys=True)}
    )
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)


def write_table(table: pa.Table | Iterable[pa.RecordBatch], path: Path) -> None:
    """Write a table under a temporary name; what comes batch by batch is never held whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as tmp:
        if isinstance(table, pa.Table):
            pq.write_table(table, tmp)
            return
        writer = None
        for batch in table:
            writer = writer or pq.ParquetWriter(tmp, batch.schema)
            writer.write_batch(batch)
        if writer is None:
            raise UserError(f"{path}: there is no request to write")
        writer.close()


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a table; a `UserError` when it is missing, damaged or something else."""
    try:
        table = pq.read_table(path, columns=columns)
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run `shopkeeper train` or `shopkeeper evaluate` for this run") from None
    except (pa.ArrowInvalid, OSError) as e:
        raise UserError(f"{path} is not readable as Parquet ({e}); run `shopkeeper train` again") from None
    if KEY not in (table.schema.metadata or {}):
        raise UserError(
            f"{path} is no per-request table (its metadata lacks 'shopkeeper'); "
            f"give validation.parquet or test.parquet of a run"
        )
    return table


def metadata_of(table: pa.Table) -> dict[str, Any]:
    """What the figures of a table are conditional on: dataset, split, protocol, part, model, seed, target hash, …"""
    return dict(json.loads((table.schema.metadata or {})[KEY]))


def oracle_of(table: pa.Table) -> str:
    """What the oracle that this table is of was told (`About.oracle`); "" for any other model's."""
    meta = metadata_of(table)
    return str(meta.get("oracle", EARLIER_ORACLES.get(str(meta.get("model")), "")))


def metrics_of(table: pa.Table) -> list[str]:
    """Names of the metric columns: float64, neither truth nor answer nor slice."""
    fixed = {*WHO, *given()}
    return [
        f.name
        for f in table.schema
        if f.name not in fixed and not f.name.startswith(SLICE) and pa.types.is_float64(f.type)
    ]


def slices_of(table: pa.Table) -> list[str]:
    """Names of the slices of a table, without their prefix."""
    return [name.removeprefix(SLICE) for name in table.column_names if name.startswith(SLICE)]


def values_of(table: pa.Table, metric: str) -> np.ndarray:
    """One metric column as float64, NaN where null; a `UserError` names the nearest when there is no such column."""
    if metric not in (names := metrics_of(table)):  # other columns are numbers, too: whose a request is, for instance
        if metric in kind_of(table).aggregates:
            raise UserError(
                f"{metric} is a figure of all rows together, of which a single one has none; choose a mean over rows: "
                f"{', '.join(names)}"
            )
        raise UserError(f"the per-request table has no metric '{metric}'.{nearest(metric, names)}")
    return table[metric].to_numpy().astype(np.float64, copy=False)


def users_of(table: pa.Table) -> np.ndarray:
    """Who each row belongs to, for resampling: internal id; a row without user (0) is a person of its own."""
    user = table["user"].to_numpy().astype(np.int64)
    return np.where(user > 0, user, -1 - np.arange(len(user)))


def summarise(
    table: pa.Table,
    metrics: Sequence[str] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    method: str = "percentile",
    seed: int = 0,
    profit: Profit | None = None,
) -> dict[str, Entry]:
    """Every figure (or those named) with interval (bootstrap by customer) and n, as `metrics.json` holds them.

    Of each metric column the mean; of rows about labels, over those that have a score, the aggregates of their kind and
    with the shop's own `profit` also `emp`, the expected maximum profit per customer. With all come figures that have
    no interval (`Kind.others`). Each is {"value", "low", "high", "n"}. None is "no number": JSON has no NaN. `method`:
    of the means' intervals; those of aggregates are percentiles.
    """
    kind = kind_of(table)
    aggregates = {**kind.aggregates, **kind.of_truth}
    if profit is not None and aggregates:
        aggregates["emp"] = Aggregate(profit.per_resample)
    names = [*metrics_of(table), *aggregates] if metrics is None else list(metrics)
    means = [name for name in names if name not in aggregates]
    summary: dict[str, Entry] = {}
    if means:
        values = np.stack([values_of(table, name) for name in means], axis=1)
        options: dict[str, Any] = {"confidence": confidence, "resamples": resamples, "method": method, "seed": seed}
        options["shares"] = np.array([is_share(name) for name in means])
        summary |= zip(means, mean_interval(values, users_of(table), **options).as_dicts(), strict=True)
    if some := {name: aggregate for name, aggregate in aggregates.items() if name in names}:
        summary |= _resampled(kind.answered(table), some, confidence, resamples, seed)
    return summary | kind.others(table, metadata_of(table)) if metrics is None else summary


def _resampled(
    rows: Answered, aggregates: Mapping[str, Aggregate], confidence: float, resamples: int, seed: int
) -> dict[str, Entry]:
    """Aggregates with the percentiles of their resamples; one customer says nothing of others."""
    n = len(rows.truth)
    if n == 0:
        return {name: {"value": None, "low": None, "high": None, "n": 0} for name in aggregates}
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in aggregates}
    for weight_Rn in drawn_rows(rows.customer, resamples, seed):
        for name, one in aggregates.items():
            if one.made_of is not None and one.made_of[0] in drawn:
                drawn[name].append(one.made_of[1](drawn[one.made_of[0]][-1]))
            else:
                drawn[name].append(one.value(rows.truth, rows.answer, weight_Rn))
    several = bool(rows.customer.max() > 0)
    tails = (0.5 - confidence / 2, 0.5 + confidence / 2)
    summary: dict[str, Entry] = {}
    for name, one in aggregates.items():
        value, of_resamples = float(one.value(rows.truth, rows.answer, None)), np.concatenate(drawn[name])
        usable = of_resamples[~np.isnan(of_resamples)]
        if one.grows and len(usable):
            usable = np.maximum(usable + (value - usable.mean()), 0.0)
        known = several and len(usable) > 0 and not np.isnan(value)
        low, high = (float(x) for x in np.quantile(usable, tails)) if known else (None, None)
        summary[name] = {"value": None if np.isnan(value) else value, "low": low, "high": high, "n": n}
    return summary
