"""Ids that a person types stay text: Hydra would read `1_000` as 1000, `10E2` as 1000.0 and stumble over `é1`.

Words of the command line that set a list of ids are quoted before Hydra reads them: `history=[007,é1]` becomes
`history=['007','é1']`. What is quoted already, and lists in lists, stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from shopkeeper.errors import UserError

KEYS = ("history", "exclude", "report.chosen")  # settings that are lists of external ids
_PIECE = re.compile(r"""\s*([\[\],]|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^\[\],'"]+)""", re.DOTALL)


def keep_ids(words: Sequence[str]) -> list[str]:
    """The words of a command line with ids quoted; a `UserError` shows how to quote an id that cannot be split off."""
    return [_quoted(word) for word in words]


def _quoted(word: str) -> str:
    key, equals, value = word.partition("=")
    if not equals or key.lstrip("+~") not in KEYS or value.strip() in ("", "null") or "${" in value:
        return word
    pieces: list[str] = []
    at = 0
    while at < len(value.rstrip()):
        found = _PIECE.match(value, at)
        if found is None or (at and found[1][0] in "'\"" and pieces[-1] not in "[,"):
            raise UserError(
                f"{word}: a quote stands inside of an id; write the id in double quotes, the whole in single ones: "
                f"'{key}=[\"6' ladder\",other]'"
            )
        if re.match(r"\{\s*\w+\s*:", found[1]):  # an id in braces alone may be one
            raise UserError(
                f"{word}: an entry is an id or a list of id, event type and time; write {key}=[[<id>,view]] in place "
                f"of {{item_id: <id>, event_type: view}}"
            )
        pieces.append(found[1])
        at = found.end()
    return f"{key}=" + "".join(p if p[0] in "[],'\"" else _quote(p.strip()) for p in pieces if p.strip())


def _quote(text: str) -> str:
    return "'" + re.sub(r"(\\+)$", r"\1\1", text) + "'"
