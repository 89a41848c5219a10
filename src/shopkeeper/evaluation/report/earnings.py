"""What models bring: curves of campaigns by the shop's own values, and the currency that all of it is in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.evaluation import settings
from shopkeeper.evaluation.money import message_curve
from shopkeeper.evaluation.profit import Profit
from shopkeeper.evaluation.profit_curve import ProfitCurve, profit_curve
from shopkeeper.evaluation.report.figures import Model, one_per_group
from shopkeeper.evaluation.table import users_of


def currency_of(section: Mapping[str, Any]) -> str:
    """Of the log's prices, as the dataset's config says; of the shop's own values where it says nothing."""
    configs = section.get("configs") or {}
    first: Mapping[str, Any] = next(iter(configs.values()), {})
    dataset: Mapping[str, Any] = first.get("dataset") or {}
    return str(dataset.get("currency") or (dataset.get("profit") or {}).get("currency") or "")


def said_of(table: pa.Table, model: Model) -> tuple[np.ndarray, np.ndarray] | None:
    """Label and probability of the scored customers; None for another task or one probability for everybody."""
    if "probability" not in table.column_names or "ece" not in model.metrics:
        return None
    p = np.asarray(table["probability"].cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    scored = ~np.isnan(p)
    if len(np.unique(p[scored])) < 2:
        return None
    return table["label"].to_numpy()[scored], p[scored]


def profits(section: Mapping[str, Any], models: Sequence[Model], told: settings.Report) -> dict[str, ProfitCurve]:
    """What a campaign brings by the shop's own values, by model; empty without such values.

    Of a task about who leaves: an offer to those most likely to. Of recommenders whose data have prices: messages with
    their lists, less what a message costs.
    """
    found = {}
    options: dict[str, Any] = {"resamples": told.resamples, "seed": told.seed}
    options["confidence"] = float(section.get("confidence", 0.95))
    for model in one_per_group(models):
        table, values = section["tables"][model.name], section["metrics"][model.name].get("profit")
        own = Profit.of(values, str(section["prepared"].name))
        if (said := said_of(table, model)) is not None and own is not None:
            scored = np.isfinite(table["probability"].cast(pa.float64()).to_numpy(zero_copy_only=False))
            found[model.name] = profit_curve(*said, users_of(table)[scored], own, **options)
        elif metric := section.get("money"):
            dataset = (section.get("configs") or {}).get(model.name, {}).get("dataset") or {}
            own = Profit.of(dataset.get("profit"), str(section["prepared"].name))
            if own is not None and (curve := message_curve(table, metric, own, **options)) is not None:
                found[model.name] = curve
    return found
