"""Steps over the lines of one order: what only its first line holds, and a discount that is the order's."""

from __future__ import annotations

import numpy as np
import polars as pl

from shopkeeper.ingest.steps.settings import Discount, Fill
from shopkeeper.ingest.steps.step import Group, Shaped, Tools, floats, runs, texts


def fill(frame: pl.DataFrame, told: Fill, tools: Tools) -> Shaped:
    """Each blank of the columns as the line before it in the same order has it."""
    run = runs(frame, Group(told.by, told.follow))
    start = np.searchsorted(run, run)  # where the run of each row begins
    filled = []
    columns = [told.by, *told.columns] if told.follow else told.columns
    for column in (name for name in columns if name in frame.columns):
        known = texts(frame, column).is_not_null().to_numpy()
        last = np.maximum.accumulate(np.where(known, np.arange(len(run)), -1)) if len(run) else start
        filled.append(frame[column].gather(pl.Series(np.where(last >= start, last, np.arange(len(run))))))
    return Shaped(frame.with_columns(filled))


def discount(frame: pl.DataFrame, told: Discount, tools: Tools) -> Shaped:
    """What was paid for each line, in `into`."""
    run = runs(frame, Group(told.by))
    priced = str(told.total or told.price)
    value, bad = floats(frame, priced, tools.decimal)
    if told.quantity and not told.total:
        quantity, _ = floats(frame, told.quantity, tools.decimal)
        value = value * np.where(np.isnan(quantity), 1.0, quantity)  # `price_is: total` counts unknown units as one
    own = _amount(frame, told.line, tools)
    left = np.nan_to_num(value) - own
    total, taken = np.bincount(run, left), np.bincount(run, own)
    first = np.unique(run, return_index=True)[1]
    share: np.ndarray = _amount(frame, told.order, tools)[first] - taken
    if told.subtotal:
        known = floats(frame, told.subtotal, tools.decimal)[0][first]
        share = np.fmin(share, total - known)  # NaN where nobody said it
    share = np.clip(share, 0, np.maximum(total, 0))
    rate = np.divide(share, total, out=np.zeros(len(total)), where=total > 0)
    paid = pl.Series(told.into, np.where(np.isnan(value), np.nan, left * (1 - rate[run]))).fill_nan(None)
    if bad.any():  # which is said of the row later on, with the value as it stands
        paid = paid.cast(pl.String).zip_with(pl.Series(~bad), texts(frame, priced))
    return Shaped(frame.with_columns(paid.alias(told.into)))


def _amount(frame: pl.DataFrame, column: str | None, tools: Tools) -> np.ndarray:
    """An amount that is 0 where nothing (or no number) stands, by its size: some shops write discounts negative."""
    if column is None:
        return np.zeros(frame.height)
    return np.abs(np.nan_to_num(floats(frame, column, tools.decimal)[0]))
