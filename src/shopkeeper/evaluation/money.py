"""What recommendations bring: which model's lists hold more of what customers then pay for, and whom to send them to.

A row earns what its customer then spent on items among the first k of the list (`revenue@k`), or what of that is left
to the shop (`margin@k`, where the items have a margin). It was spent without the list being shown: what a list would
change, only a test can say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.evaluation.compare import Comparison, compare_family
from shopkeeper.evaluation.profit import Profit
from shopkeeper.evaluation.profit_curve import ProfitCurve, contact_curve
from shopkeeper.evaluation.rows.kinds import floats
from shopkeeper.evaluation.table import users_of

MATTERS = 0.01  # of what the best one earns: the smallest difference of interest


def money_metric(tables: Mapping[str, pa.Table], names: Sequence[str], k: int) -> str:
    """The first of a task's metrics in money that all tables have at cut-off k; "" where there is none."""
    wanted = [name.format(k=k) for name in names]
    return next((m for m in wanted if all(m in table.column_names for table in tables.values())), "")


def compare_money(tables: Mapping[str, pa.Table], metric: str, **options: Any) -> list[Comparison]:
    """Every pair on a metric in money, judged together; options as of `compare_family`."""
    if len(tables) < 2:
        return []
    means = [float(np.nanmean(values)) for t in tables.values() if (~np.isnan(values := floats(t, metric))).any()]
    matters = float(f"{MATTERS * max(means, default=0.0):.1g}")
    return compare_family(tables, [metric], **{**options, "smallest_effect": matters or 1.0})


def message_curve(table: pa.Table, metric: str, profit: Profit, **options: Any) -> ProfitCurve | None:
    """What messages with a model's list bring less what they cost, sent first where its first item scores highest.

    None where the table holds no scores, or nobody spent anything. Options as of `contact_curve`.
    """
    earned = floats(table, metric)
    first = pc.list_element(pc.if_else(pc.greater(pc.list_value_length(table["top_scores"]), 0), table["top_scores"],
                                       pa.scalar([None], table["top_scores"].type)), 0)  # fmt: skip
    score = np.asarray(first.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    there = ~np.isnan(earned) & ~np.isnan(score)
    if not there.any() or not earned[there].any():
        return None
    return contact_curve(
        earned[there] - profit.contact_cost, score[there], users_of(table)[there], profit.currency,
        capacity=profit.capacity, **options,
    )  # fmt: skip
