"""One audience's folder and the log since, read out: what `read-audience` prints and the report shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shopkeeper.campaigns.audience.arms import ARM, TREATMENT
from shopkeeper.campaigns.audience.layout import audience_file
from shopkeeper.campaigns.audience.readout import BUYERS, money_of, outcomes, readout
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.evaluation.online_test import ENOUGH
from shopkeeper.evaluation.rows.segments import SLICED
from shopkeeper.files import read_json
from shopkeeper.schema import MICROSECONDS_PER_DAY
from shopkeeper.timeline import instant, iso


def read_folder(
    folder: Path,
    data: Path | None = None,
    days: float | None = None,
    contact_cost: float | None = None,
    level: float = 0.05,
) -> dict[str, Any]:
    """What an audience's message did; arguments and errors as of `cli.read_audience.read_audiences`."""
    table = pq.read_table(audience_file(folder))
    card, manifest = read_json(folder / "card.json"), read_json(folder / "manifest.json")
    prepared = Prepared.open(data or Path("data/prepared") / manifest["dataset"])
    if prepared.name != manifest["dataset"]:
        raise UserError(
            f"{prepared.path} is of dataset={prepared.name}, {folder} of {manifest['dataset']}; give its own"
        )
    at, share = instant(manifest["as_of"], "as_of"), 1 - float(card["arms"]["share"])
    days = float(days or card["arms"]["days"])
    ids = prepared.users["user_id"].combine_chunks().cast(pa.string())
    row = pc.fill_null(pc.index_in(table["user_id"].combine_chunks(), value_set=ids), -1)
    customer = row.to_numpy(zero_copy_only=False).astype(np.int64) + 1
    if not (customer > 0).any():
        raise UserError(f"{prepared.path} knows nobody of {folder}; give the dataset that the audience was made from")
    there = customer > 0
    treated = np.array([arm == TREATMENT for arm in table[ARM].to_pylist()], bool)[there]
    if treated.all() or not treated.any():
        raise UserError(
            f"{folder} has only one arm: without a control group nothing can be read; write the next one with one"
        )
    segment = {name: np.array(table[name].to_pylist(), object)[there] for name in SLICED if name in table.column_names}
    acted = outcomes(prepared, customer[there], at, days)
    said = readout(acted, treated, segment, treatment_share=share, level=level)
    own = card.get("costs") or card.get("profit") or {}
    cost = contact_cost if contact_cost is not None else own.get("contact_cost")
    warnings = []
    if cost is None:
        warnings.append(
            "what a message costs is not known and nothing is taken off for it; say it in the dataset's profit, or "
            "with --contact-cost"
        )
    if (gone := int((~there).sum())) > 0:
        warnings.append(
            f"{gone:,} of the audience are no longer in the data (erased, or consent withdrawn) and count in no arm; "
            "if the message made them go, that is not seen here"
        )
    if 2 * (few := int(min(treated.sum(), (~treated).sum()))) < ENOUGH:
        warnings.append(
            f"only {few:,} customers in an arm: chance is called a gain no more often than elsewhere, but the message "
            "may have done more than the upper end of an interval says"
        )
    if not (ratio := said["sample_ratio"])["ok"]:
        warnings.append(
            f"do not read this: {ratio['treatment']:,} and {ratio['control']:,} customers cannot come from the arms "
            f"that were dealt (p {ratio['p']:.2g}); find out who is missing"
        )
    return {
        "audience": manifest["audience"],
        "title": card["title"],
        "dataset": manifest["dataset"],
        "as_of": manifest["as_of"],
        "until": iso(at + round(days * MICROSECONDS_PER_DAY)),
        "days": days,
        "currency": own.get("currency"),
        "zone": prepared.zone,
        "planned": card["arms"]["smallest_difference"],
        "treatment": int(treated.sum()),
        "control": int((~treated).sum()),
        **said,
        "cost_known": cost is not None,
        "money": money_of(said, int(treated.sum()), cost),
        "words": _words(said),
        "warnings": warnings,
    }


def _words(said: dict[str, Any]) -> str:
    """What may be said of the share of buyers."""
    one = said["outcomes"][BUYERS]
    if not said["sample_ratio"]["ok"]:
        return "Not to be read: customers are missing in one arm."
    if one["treatment"] == one["control"] == 0:
        return "Nobody bought, neither of those who were written to nor of control: what the message does is not known."
    points = between(one, 100, 2, " points")
    if one["low"] > 0:
        return f"More of those who were written to bought: {points}."
    if one["high"] < 0:
        return f"Fewer of those who were written to bought: {points}."
    return f"No difference is shown in who bought: {points}."


def between(one: Mapping[str, float] | None, times: float, digits: int, unit: str = "") -> str:
    """ "+1.20 (+0.31 to +2.09)"; "" for nothing."""
    if one is None:
        return ""
    value, low, high = (f"{times * one[name]:+,.{digits}f}" for name in ("value", "low", "high"))
    return f"{value}{unit} ({low} to {high})"
