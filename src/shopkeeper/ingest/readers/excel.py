"""Excel workbooks (.xlsx, .xls, .ods) through fastexcel: one sheet after another, rows as the sheet numbers them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from shopkeeper.errors import UserError, nearest
from shopkeeper.ingest.block import Block, Wanted, check_columns, shown
from shopkeeper.ingest.dataset_parts import ReaderSettings


def read_excel(
    path: Path, wanted: Wanted | None, told: ReaderSettings, advance: Callable[[int], object] | None
) -> Iterator[Block]:
    """Every sheet of a workbook (or `reader.sheets`), with the header in the first row behind `reader.skip_lines`.

    Cells are read as text: what Excel stores as a date becomes `YYYY-MM-DD HH:MM:SS`, whole numbers lose their `.0`.
    """
    try:
        import fastexcel
    except ImportError:
        raise UserError(f"reading {path} needs fastexcel: pip install 'shopkeeper[prepare]'") from None
    try:
        book = fastexcel.read_excel(path)
    except Exception as e:  # fastexcel's own error classes differ between versions
        raise UserError(f"{path} cannot be read as a workbook ({str(e).splitlines()[0]}); save it again") from None
    sheets, above = told.sheets or book.sheet_names, told.skip_lines or 0
    for sheet in [sheets] if isinstance(sheets, str) else sheets:
        if sheet not in book.sheet_names:
            raise UserError(f"{path}: no sheet '{sheet}'.{nearest(sheet, book.sheet_names)}")
        table = pa.Table.from_batches([book.load_sheet(sheet, header_row=above, dtypes="string").to_arrow()])
        columns = [name.strip() for name in table.column_names]
        table = table.rename_columns(columns)
        names = columns if wanted is None else wanted.there(columns).names
        check_columns(path, columns, names, hint=f" (sheet '{sheet}')")
        yield Block(f"{shown(path)}[{sheet}]", table.select(names), lambda i: i + 2 + above)
    if advance is not None:
        advance(path.stat().st_size)
