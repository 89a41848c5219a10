"""Tables that people hand over, and CSV that a spreadsheet opens without running anything (OWASP, CSV injection)."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from shopkeeper.errors import UserError

FORMULA = "^[=+@\\-\t\r\n\uff1d\uff0b\uff0d\uff20]"  # how cells begin that a spreadsheet would run, in full width, too
SHOWN = "^'(?=[=+@\\-\t\r\n\uff1d\uff0b\uff0d\uff20])"  # … and how they begin once they are safe


def read_sheet(path: Path, texts: Collection[str] | None = ()) -> pa.Table:
    """A table from CSV or Parquet; `texts`: columns that are text in a CSV, that no zero is lost (None: all).

    Raises:
        UserError: it cannot be read, names of columns in another encoding than UTF-8 among the reasons.
    """
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path)
        head = pyarrow.csv.open_csv(path).schema.names
        told = {name: pa.string() for name in head if texts is None or name in texts}
        return pyarrow.csv.read_csv(path, convert_options=pyarrow.csv.ConvertOptions(column_types=told))
    except (pa.ArrowInvalid, UnicodeDecodeError, OSError) as e:
        raise UserError(f"{path} is not readable ({str(e).splitlines()[0]}); give CSV in UTF-8 or Parquet") from None


def as_strings(table: pa.Table) -> pa.Table:
    """The table with texts of every kind that Arrow has (long, viewed, by dictionary) as `string`."""
    of = pa.types
    for place, field in enumerate(table.schema):
        kind = field.type.value_type if of.is_dictionary(field.type) else field.type
        if field.type != pa.string() and (of.is_string(kind) or of.is_large_string(kind) or of.is_string_view(kind)):
            table = table.set_column(place, pa.field(field.name, pa.string()), table[place].cast(pa.string()))
    return table


def without_formulas(table: pa.Table, keys: Collection[str] = ()) -> pa.Table:
    """The table with an apostrophe before every text that would be run, names of columns too.

    Numbers, and columns of `keys`, stay.
    """
    table = as_strings(table)
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type) and field.name not in keys:
            safe = pc.replace_substring_regex(table[place], f"({FORMULA})", r"'\1")
            table = table.set_column(place, field, safe)
    names = [name if name in keys else re.sub(f"({FORMULA})", r"'\1", name) for name in table.column_names]
    return table.rename_columns(names)


def write_sheet(table: pa.Table, path: Path) -> None:
    """Write a table as CSV in UTF-8, safe as above."""
    pyarrow.csv.write_csv(without_formulas(table), path)
