"""`read-audience`: what the messages of one or several audiences did, on one page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shopkeeper.campaigns.audience.arms import ARM, TREATMENT
from shopkeeper.campaigns.audience.layout import audience_file
from shopkeeper.campaigns.audience.readout import BUYERS, money_of, outcomes, readout
from shopkeeper.customers.window import MONEY
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.evaluation.rows.segments import SLICED
from shopkeeper.files import read_json, write_json, write_text
from shopkeeper.schema import MICROSECONDS_PER_DAY
from shopkeeper.timeline import instant, iso


def read_audiences(
    folders: Sequence[Path],
    data: Path | None = None,
    days: float | None = None,
    contact_cost: float | None = None,
    to: Path | None = None,
    level: float = 0.05,
) -> list[dict[str, Any]]:
    """Print, and write, what each audience's message did.

    Args:
        folders: what `audience` wrote.
        data: the prepared dataset that holds what came since; None: data/prepared/<dataset>.
        days: of the window from each audience's instant on; None: as its YAML says.
        contact_cost: of a message, in the log's currency; None: as the audience's card says, if it does.
        to: .json for programs, or .md for people; None: nothing is written.
        level: of the intervals.

    Raises:
        UserError: an audience that is unfinished or without an arm, a log that ends too early or holds none of the
            audience. Where there are several, those that cannot be read stand on the page with the reason.
    """
    if to is not None and to.suffix not in (".json", ".md"):
        raise UserError(f"--to {to} ends in neither .json nor .md; give the file one of these endings")
    found, unread = [], list[str]()
    for folder in folders:
        try:
            found.append(_read(folder, data, days, contact_cost, level))
        except UserError as e:
            if len(folders) == 1:
                raise
            unread.append(str(e))
    if not found:
        raise UserError(f"none of {len(folders)} audiences can be read, the first one since {unread[0]}; name others")
    page = as_markdown(found, unread)
    if to is not None:
        to.parent.mkdir(parents=True, exist_ok=True)
        if to.suffix == ".json":
            write_json(to, found)
        else:
            write_text(to, page)
    print(page, end="")
    return found


def _read(
    folder: Path, data: Path | None, days: float | None, contact_cost: float | None, level: float
) -> dict[str, Any]:
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
    cost = contact_cost if contact_cost is not None else (card.get("profit") or {}).get("contact_cost")
    warnings = []
    if (gone := int((~there).sum())) > 0:
        warnings.append(
            f"{gone:,} of the audience are no longer in the data (erased, or consent withdrawn) and count in no arm; "
            "if the message made them go, that is not seen here"
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
        "currency": (card.get("profit") or {}).get("currency"),
        "planned": card["arms"]["smallest_difference"],
        "treatment": int(treated.sum()),
        "control": int((~treated).sum()),
        **said,
        "money": money_of(said, int(treated.sum()), cost),
        "words": _words(said),
        "warnings": warnings,
    }


def _words(said: dict[str, Any]) -> str:
    """What may be said of the share of buyers."""
    one = said["outcomes"][BUYERS]
    if not said["sample_ratio"]["ok"]:
        return "Not to be read: customers are missing in one arm."
    points = _between(one, 100, 2, " points")
    if one["low"] > 0:
        return f"More of those who were written to bought: {points}."
    if one["high"] < 0:
        return f"Fewer of those who were written to bought: {points}."
    return f"No difference is shown in who bought: {points}."


def as_markdown(found: Sequence[dict[str, Any]], unread: Sequence[str] = ()) -> str:
    """One page about all of them."""
    head = (
        "audience",
        "from",
        "to",
        "written to",
        "control",
        "buyers, points",
        "money each",
        "money in all, after costs",
    )
    lines = ["# What the messages did", "", _row(head), _row("---" for _ in head)]
    for one in found:
        unit = f" {one['currency']}" if one["currency"] else ""
        about = one["audience"], one["as_of"][:10], one["until"][:10], f"{one['treatment']:,}", f"{one['control']:,}"
        each = _between(one["outcomes"].get(MONEY), 1, 2, unit)
        lines.append(
            _row((*about, _between(one["outcomes"][BUYERS], 100, 2), each, _between(one["money"], 1, 0, unit)))
        )
    for one in found:
        lines += ["", f"## {one['title'] or one['audience']}, {one['as_of'][:10]}", "", one["words"]]
        lines += [f"- {text}" for text in one["warnings"]]
        if not one["segments"]:
            continue
        told = f"By segment of that day ({100 * (1 - one['level']):g} % for all of them together):"
        columns = "segment", "written to", "control", "buyers, points", "money each"
        lines += ["", told, "", _row(columns), _row("---" for _ in columns)]
        for row in one["segments"]:
            name = f"{row['segmentation'].replace('_', ' ')}: {row['segment']}"
            buyers, money = row["outcomes"][BUYERS], row["outcomes"].get(MONEY)
            cells = f"{row['treatment']:,}", f"{row['control']:,}", _between(buyers, 100, 2), _between(money, 1, 2)
            lines.append(_row((name, *cells)))
    if unread:
        lines += ["", "## Not read", "", *(f"- {text}" for text in unread)]
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _between(one: Mapping[str, float] | None, times: float, digits: int, unit: str = "") -> str:
    """ "+1.20 (+0.31 to +2.09)"; "" for nothing."""
    if one is None:
        return ""
    value, low, high = (f"{times * one[name]:+,.{digits}f}" for name in ("value", "low", "high"))
    return f"{value}{unit} ({low} to {high})"
