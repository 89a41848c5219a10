"""How a terminal is spoken to: its width, its colours, and the commands that are typed there."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import TextIO

NARROW = 80  # columns that every terminal has; of what is written to files and pipes, too
CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
# Sentences of a comparison, each with the lines that it goes on in, and the heading above a table's rule.
SAID = {r"^alarm: ": "red", r"^.+? is better than ": "green", r"^cannot tell ": "yellow", r"^.+$(?=\n-+ )": "bold"}


def program(verb: str) -> list[str]:
    """How a verb is called here: by its file in a clone, else by the program that was installed."""
    return ["python", f"{verb}.py"] if Path(f"{verb}.py").is_file() else ["shopkeeper", verb]


def columns(stream: TextIO | None = None) -> int:
    """How wide a text may be: as the terminal is, from 80 on; 80 where there is none. `COLUMNS` says otherwise."""
    stream = sys.stdout if stream is None else stream
    if "COLUMNS" not in os.environ and not stream.isatty():
        return NARROW
    return max(NARROW, shutil.get_terminal_size((NARROW, 24)).columns)


def coloured(text: str, code: str, stream: TextIO | None = None) -> str:
    """A text in a colour (of `CODES`) where a terminal takes it: not in files, nor where `NO_COLOR` is set."""
    stream = sys.stdout if stream is None else stream
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty():
        return text
    return f"\x1b[{CODES[code]}m{text}\x1b[0m"


def tinted(text: str, stream: TextIO | None = None) -> str:
    """A comparison in colours: green what is better, yellow what cannot be told apart, red alarms, headings bold.

    >>> tinted("a is better than b", sys.stdout) in ("a is better than b", "\x1b[32ma is better than b\x1b[0m")
    True
    """
    for begins, code in SAID.items():
        whole = begins if begins.endswith(")") else begins + r".*(?:\n  .*)*"
        parts = re.split(f"({whole})", text, flags=re.MULTILINE)  # every other one is what was looked for
        text = "".join(coloured(part, code, stream) if i % 2 else part for i, part in enumerate(parts))
    return text
