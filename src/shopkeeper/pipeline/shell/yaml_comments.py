"""What a YAML of `conf/` says beside its settings: the comments, read line by line, for `--help` and for the pages.

Read as text, so that it costs no import and says what the file says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

KEY = re.compile(r"^( *)([\w@/. ]+?):(?: +(.*))?$")
GROUP = re.compile(r"^ *- (\w+): *(\S.*)$")  # in the block `defaults`: a choice among files


@dataclass(frozen=True)
class Setting:
    """A line `key: value # what is said of it`; `name` has the keys that it lies below, with dots."""

    name: str
    value: str
    said: str


@dataclass(frozen=True)
class Commented:
    """A file of settings: what its first lines say of it, its settings in order, and choices of groups."""

    about: str
    settings: tuple[Setting, ...]
    groups: tuple[Setting, ...] = ()


def read(path: Path) -> Commented:
    """Read one file; the block `hydra` and lists stand for themselves and have no settings below.

    A comment on lines of its own, below a setting, goes on what was said of it.
    """
    about, found, groups = list[str](), list[Setting](), list[Setting]()
    last: list[Setting] | None = None  # where the setting of the line before went
    above: list[tuple[int, str]] = []  # indent and key of the blocks around
    passed: str | None = None  # a block at the top that has no settings
    for line in path.read_text(encoding="utf-8").splitlines():
        text, comment = apart(line)
        indent = len(line) - len(line.lstrip(" "))
        if not text:
            if not comment or comment.startswith("@package"):
                continue
            if last:
                last[-1] = replace(last[-1], said=f"{last[-1].said} {comment}".strip())
            elif not above and passed is None:
                about.append(comment)
            continue
        if passed is not None and indent > 0:
            chosen = GROUP.match(text) if passed == "defaults" else None
            last = groups if chosen else None
            groups += [Setting(chosen[1], chosen[2].strip(), comment)] if chosen else []
            continue
        if text.lstrip().startswith("- "):
            continue
        passed, match = None, KEY.match(text)
        if match is None:
            continue
        key, value = match[2], match[3] or ""
        while above and above[-1][0] >= indent:
            above.pop()
        if key in ("defaults", "hydra") and not indent:
            passed, last = key, None
            continue
        found.append(Setting(".".join([*(k for _, k in above), key]), value, comment))
        last = found
        if not value:
            above.append((indent, key))
    blocks = {one.name.rpartition(".")[0] for one in found}
    kept = [one for one in found if one.value or one.said or one.name not in blocks]
    return Commented(" ".join(about), tuple(kept), tuple(groups))


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
