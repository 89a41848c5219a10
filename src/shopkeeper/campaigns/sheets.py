"""CSV that a spreadsheet opens without running anything."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

FORMULA = "^[=+@\\-\t\r]"  # how cells begin that a spreadsheet would run (OWASP, CSV injection)


def without_formulas(table: pa.Table, keys: Collection[str] = ()) -> pa.Table:
    """The table with an apostrophe before every text that would be run; numbers, and columns of `keys`, stay."""
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type) and field.name not in keys:
            safe = pc.replace_substring_regex(table[field.name], f"({FORMULA})", r"'\1")
            table = table.set_column(place, field, safe)
    return table


def write_sheet(table: pa.Table, path: Path) -> None:
    """Write a table as CSV in UTF-8, safe as above."""
    pyarrow.csv.write_csv(without_formulas(table), path)
