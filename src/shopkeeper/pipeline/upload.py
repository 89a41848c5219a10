"""`upload-file`: a list of customers and the table of their contact keys as a file that a tool takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from shopkeeper.campaigns.audience.arms import ARM, IN_CONTROL, without_control
from shopkeeper.campaigns.audience.layout import audience_file
from shopkeeper.campaigns.sheets import SHOWN
from shopkeeper.campaigns.upload.contacts import check_flat, join, read_list
from shopkeeper.campaigns.upload.tools import MOST_BYTES, TOOLS, Lines, Sheet, as_json
from shopkeeper.errors import UserError, nearest
from shopkeeper.files import atomic_file

NOT_TOLD = "blank_reason"  # of tables of scores and segments


def write_upload_file(
    listed: Path,
    contacts: Path,
    tool: str,
    to: Path,
    where: Sequence[str] = (),
    traits: Sequence[str] | None = None,
    overwrite: bool = False,
) -> None:
    """Write the file, and print how many are in it and why others are not.

    Args:
        listed: CSV or Parquet with `user_id`, such as segments.parquet or a table of scores, or the folder of an
            audience. Who is in a control group (`arm`) is left out.
        contacts: CSV or Parquet, see `campaigns.upload.contacts`.
        tool: one of `TOOLS`.
        to: the file.
        where: `column=value` each: only customers for whom all hold.
        traits: columns of the list that go into the file; None: all.
        overwrite: whether an earlier file of that name goes; never the list or the contacts.

    Raises:
        UserError: nobody is left, a column is not there or has a name that the tool gives a contact's key, the file
            is there already, or is larger than the tool takes.
    """
    _check_free(to, (listed, contacts), overwrite)
    table, controls = without_control(_read(listed))
    for condition in where:
        table = _those(table, condition, listed)
    chosen = [c for c in table.column_names if c not in ("user_id", ARM, NOT_TOLD)] if traits is None else list(traits)
    for name in chosen:
        if name not in table.column_names:
            raise UserError(f"--traits names '{name}', which {listed} has not.{nearest(name, table.column_names)}")
    check_flat(table, chosen, listed)
    people = join(table.select(["user_id", *chosen]), read_list(contacts, texts=True), contacts)
    if controls:
        people.left_out[IN_CONTROL] = controls
    if not len(people):
        why = "; ".join(f"{n:,}: {reason}" for reason, n in people.left_out.most_common())
        raise UserError(f"nobody would be in {to} ({why or 'the list is empty'}); look at --where and {contacts}")
    found = TOOLS[tool](people)
    _write(found, to, tool)
    print(f"{to}: {found.table.num_rows if isinstance(found, Sheet) else len(found.rows):,} customers for {tool}")
    for reason, n in people.left_out.most_common():
        print(f"  left out, {reason}: {n:,}")
    for what, n in people.unusable.most_common():
        print(f"  warning: {n:,} {what}: blank in the file")
    for warning in found.warnings:
        print(f"  warning: {warning}")


def _check_free(to: Path, read: Sequence[Path], overwrite: bool) -> None:
    """A `UserError` where what is read would be written over, or an earlier file without being told so."""
    if not to.exists():
        return
    if to.is_dir() or any(to.samefile(each) for each in read if each.exists()):
        raise UserError(f"{to} is a folder, or what is read; choose another name")
    if not overwrite:
        raise UserError(f"{to} is there already; choose another name, or say --overwrite")


def _read(listed: Path) -> pa.Table:
    """The list, or that of an audience's folder; ids of a CSV without what a spreadsheet was shown."""
    file = audience_file(listed) if listed.is_dir() else listed
    table = read_list(file)
    if file.suffix != ".csv":
        return table
    ids = pa.array(
        [re.sub(SHOWN, "", x) for x in table["user_id"].to_pylist()], pa.string()
    )  # `sheets.without_formulas`
    return table.set_column(table.column_names.index("user_id"), "user_id", ids)


def _those(table: pa.Table, condition: str, listed: Path) -> pa.Table:
    """The rows for which `column=value` holds."""
    name, equals, value = condition.partition("=")
    if not equals or name not in table.column_names:
        raise UserError(f"--where {condition} names no column of {listed}.{nearest(name, table.column_names)}")
    check_flat(table, [name], listed)
    return table.filter(pc.fill_null(pc.equal(table[name].cast(pa.string()), value), False))


def _write(found: Sheet | Lines, to: Path, tool: str) -> None:
    """Whole or not at all; a `UserError` where it is larger than the tool takes."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(to) as tmp:
        if isinstance(found, Sheet):
            pyarrow.csv.write_csv(found.table, tmp, pyarrow.csv.WriteOptions(delimiter=found.separator))
        else:
            tmp.write_text("".join(f"{as_json(row)}\n" for row in found.rows), encoding="utf-8")
        if (size := tmp.stat().st_size) > MOST_BYTES.get(tool, size):
            raise UserError(
                f"{to} would have {size / 2**20:.0f} MiB and {tool} takes {MOST_BYTES[tool] / 2**20:.0f}; shorten "
                "the list with --where, or send fewer --traits"
            )
