"""How the files that this project writes are declared: folder by folder, field by field, beside the code that writes.

`python -m shopkeeper formats` prints the declarations as `docs/formats.md`; `tests/pipeline/test_formats.py` holds them
against really written folders. A declaration is text in columns that two blanks or more separate:

    name        kind              meaning
    returns?    int64             a ? marks what is not always there
    a.b         text or null      b within a; with [] within each entry of a list
    <metric>    float64           any name

Kinds are those of Arrow in a table, of NumPy (with the shape) in an array, and in JSON text, int, number, bool, list,
object, any.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Field:
    """A column, a key of JSON, or an array."""

    name: str
    kind: str
    meaning: str
    optional: bool = False


@dataclass(frozen=True)
class File:
    """A file of a folder; `<…>` in its name stands for any name, / and * for many."""

    name: str
    meaning: str
    fields: tuple[Field, ...] = ()
    optional: bool = False


@dataclass(frozen=True)
class Folder:
    """A kind of folder, as `folders.KINDS` knows it."""

    title: str
    path: str
    meaning: str
    files: tuple[File, ...]


def fields(text: str) -> tuple[Field, ...]:
    """The fields of a declaration, one a line."""
    found = []
    for line in filter(str.strip, text.splitlines()):
        name, kind, meaning = re.split(r" {2,}", line.strip(), maxsplit=2)
        found.append(Field(name.removesuffix("?"), kind, meaning, name.endswith("?")))
    return tuple(found)


def file(name: str, meaning: str, text: str = "", more: tuple[Field, ...] = ()) -> File:
    """A file with its fields; a ? after its name marks one that is not always there."""
    return File(name.removesuffix("?"), meaning, (fields(text) if text else ()) + more, name.endswith("?"))


def as_markdown(folders: list[Folder]) -> str:
    """The page about all of them."""
    return "\n".join(_lines(folders)) + "\n"


def _lines(folders: list[Folder]) -> Iterator[str]:
    yield "# What the files hold"
    yield ""
    yield "Made by `python -m shopkeeper formats > docs/formats.md` from the declarations beside the writers"
    yield "(`layout.py` of each room); a test fails where this page or a written file says otherwise. A name with ? is"
    yield "not always there, `<…>` stands for any name, and `a.b` is b within a, `a[].b` b within each entry of a list."
    yield ""
    for folder in folders:
        yield f"- [{folder.title}](#{folder.title.lower().replace(' ', '-')}): `{folder.path}`"
    for folder in folders:
        yield from ("", f"## {folder.title}", "", f"`{folder.path}`: {folder.meaning}", "", "| file | what it holds |")
        yield "|---|---|"
        for one in folder.files:
            yield f"| `{one.name}{'?' * one.optional}` | {_cell(one.meaning)} |"
        for one in folder.files:
            if one.fields:
                yield from ("", f"### {folder.title}: {one.name}", "", "| name | kind | meaning |", "|---|---|---|")
                for f in one.fields:
                    yield f"| `{_cell(f.name)}{'?' * f.optional}` | {_cell(f.kind)} | {_cell(f.meaning)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
