"""What a YAML of `conf/` says beside its settings: the comments, read line by line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from made.markdown import cell, code

KEY = re.compile(r"^( *)([\w@/. ]+?):(?: +(.*))?$")


@dataclass(frozen=True)
class Setting:
    """A line `key: value # meaning`; `name` has the keys that it lies below, with dots."""

    name: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Commented:
    """A file of settings: what its first lines say of it, and its settings in order."""

    about: str
    settings: tuple[Setting, ...]


def read(path: Path) -> Commented:
    """Read one file; blocks `defaults` and lists stand for themselves and have no settings below.

    A comment on lines of its own, below a setting, goes on what was said of it.
    """
    about: list[str] = []
    found: list[Setting] = []
    above: list[tuple[int, str]] = []  # indent and key of the blocks around
    passed: int | None = None  # indent of a block that is left out
    for line in path.read_text(encoding="utf-8").splitlines():
        text, comment = apart(line)
        indent = len(line) - len(line.lstrip(" "))
        if not text:
            if not comment or comment.startswith("@package"):
                continue
            if found or above:
                found[-1:] = [Setting(one.name, one.value, f"{one.meaning} {comment}".strip()) for one in found[-1:]]
            else:
                about.append(comment)
            continue
        if (passed is not None and indent > passed) or text.lstrip().startswith("- "):
            continue
        passed, match = None, KEY.match(text)
        if match is None:
            continue
        key, value = match[2], match[3] or ""
        while above and above[-1][0] >= indent:
            above.pop()
        if key in ("defaults", "hydra") and not indent:
            passed = 0
            continue
        found.append(Setting(".".join([*(k for _, k in above), key]), value, comment))
        if not value:
            above.append((indent, key))
    blocks = {one.name.rpartition(".")[0] for one in found}
    kept = [one for one in found if one.value or one.meaning or one.name not in blocks]
    return Commented(" ".join(about), tuple(kept))


def apart(line: str) -> tuple[str, str]:
    """A line without its comment, and the comment; a # within quotes begins none.

    >>> apart("a: '#1' # first")
    ("a: '#1'", 'first')
    """
    quote = ""
    for i, sign in enumerate(line):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'" and (i == 0 or line[i - 1] in " [{,:"):
            quote = sign
        elif sign == "#" and (i == 0 or line[i - 1] == " "):
            return line[:i].rstrip(), line[i + 1 :].strip()
    return line.rstrip(), ""


def table(settings: tuple[Setting, ...]) -> list[str]:
    """The settings as lines of a Markdown table."""
    return ["| setting | shipped | what it is |", "|---|---|---|"] + [
        f"| `{one.name}` | {code(one.value)} | {cell(one.meaning)} |" for one in settings
    ]
