"""A first look at an Excel workbook: which sheets hold the log, and where its header stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

LOOKED_AT = 50  # rows of a sheet
OF_DATA = r'\s*"?[\d.\-:/ ]+"?\s*'  # a number, a date: what no column is called


def workbook_options(path: Path) -> tuple[dict[str, Any], list[str]]:
    """What a config says of the reader, and doubts. What is wrong with the workbook the reader says.

    The log is on the sheet with the most rows, and on those that have its columns; others are notes or tables of their
    own, and rows above the header are a report's title.
    """
    options: dict[str, Any] = {"format": "excel"}
    try:
        import fastexcel

        book = fastexcel.read_excel(path)
        sheets = {
            name: book.load_sheet(name, header_row=None, n_rows=LOOKED_AT, dtypes="string") for name in book.sheet_names
        }
    except Exception:  # not installed, no workbook: fastexcel's own error classes differ between versions
        return options, []
    heads = {
        name: _header(list(zip(*sheet.to_arrow().to_pydict().values(), strict=True))) for name, sheet in sheets.items()
    }
    main = max(heads, key=lambda name: sheets[name].total_height)
    doubts = []
    alike = [name for name in heads if heads[name] == heads[main]]
    if others := [name for name in heads if name not in alike]:
        options["sheets"] = main if len(alike) == 1 else alike
        doubts.append(
            f"sheets with other columns are left out ({', '.join(others)}): reader.sheets says which are read"
        )
    if above := heads[main][0]:
        options["skip_lines"] = above
        doubts.append(f"the first {above} rows stand above the header, so that reader.skip_lines leaves them out")
    return options, doubts


def _header(rows: list[tuple[str | None, ...]]) -> tuple[int, tuple[str, ...]]:
    """At which row the header stands, from 0, and the names in it: the first row that is filled most."""
    filled = [[cell.strip() for cell in row if cell and cell.strip()] for row in rows]
    most = max(map(len, filled), default=0)
    at = next((n for n, cells in enumerate(filled) if len(cells) == most), 0)
    if most < 3 or any(re.fullmatch(OF_DATA, cell) for cell in filled[at]):
        at = 0
    return at, tuple(filled[at]) if filled else ()
