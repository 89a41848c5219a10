"""How many ids of a log a table from outside knows: a table that matches nobody must not be silent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from shopkeeper.ids.columns import overlap

WAY_OUT = {
    "items": "look at items.id and items.id_map, or spell the ids alike in both files",
    "customers": "look at users.id, or spell the ids alike in both files",
    "customers with a record of consent": "look at consent.columns.account, or spell the ids alike in both files",
    "keys": "look at identity.columns, or spell the keys alike in both files",
    "listed customers": "where two spellings are one person, list both",
}


def matched(table: str, what: str, ids: pa.Array, others: pa.Array) -> dict[str, Any]:
    """How many of `ids` are among `others`, and how many only but for their spelling; for the manifest.

    `what` names the ids, one of `WAY_OUT`. An example of two spellings is kept of items alone: a manifest holds no
    customer's id.
    """
    found = overlap(ids, others)
    example = list(found.example) if found.example and what == "items" else None
    return {
        "table": table,
        "what": what,
        "ids": found.ids,
        "found": found.found,
        "but_for_zeros": found.zeros,
        "but_for_case": found.case,
        "example": example,
    }


def matches_of(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All of a prepared folder: of its tables, then of its rules about customers."""
    of_rules = [done["match"] for done in (manifest.get("changes") or {}).values() if "match" in done]
    return [*(manifest.get("tables") or []), *of_rules]


def doubtful(match: Mapping[str, Any]) -> bool:
    """Whether a person should look: nothing matched, little of an attribute table, or ids differ by spelling alone.

    Of an erasure list nobody need be in the log, and of links between keys most need not be.
    """
    if match["but_for_zeros"] + match["but_for_case"]:
        return True
    if match["what"] in ("items", "customers"):
        return bool(2 * match["found"] < match["ids"])
    return bool(match["what"] != "listed customers" and match["ids"] and not match["found"])


IN_MEMORY = {  # what frames are called that were given beside the log, and the way out there
    "items": ("items=…", "spell the ids alike in both frames"),
    "customers": ("users=…", "spell the ids alike in both frames"),
}


def as_line(match: Mapping[str, Any], of_frames: bool = False) -> str:
    """`articles.csv: 0 of 6 items matched; 6 ids differ by leading zeros only ('007' in the log, '7' …); …`

    `of_frames`: the log was given as a frame, and so were its tables of items and customers.
    """
    table, way_out = match["table"], WAY_OUT[match["what"]]
    if of_frames:
        table, way_out = IN_MEMORY.get(match["what"], (table, way_out))
    text = f"{table}: {match['found']:,} of {match['ids']:,} {match['what']} matched"
    for key, difference in (("but_for_zeros", "leading zeros only"), ("but_for_case", "capital letters only")):
        if match[key]:
            text += f"; {match[key]:,} ids differ by {difference}"
    if match["example"]:
        text += " ('{}' in the log, '{}' in the table)".format(*match["example"])
    return f"{text}; {way_out}" if doubtful(match) else text
