"""The page of errors: every message for users that stands in the source, room by room, with what is filled in as …."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "shopkeeper"
SHORTEST = 20  # characters that say something once what is filled in is left out


def page() -> str:
    """The page in Markdown."""
    found = messages()
    lines = ["# Errors", "", "Made from the source: what a command says in one line before it ends with exit code 1.",
             "… stands for what is filled in; the search of this site finds a message by its words.", ""]  # fmt: skip
    for room in sorted(found):
        lines += [f"## {room}", "", *(f"- {_plain(text)}" for text in found[room]), ""]
    return "\n".join(lines) + "\n"


def messages() -> dict[str, list[str]]:
    """Room of the source -> the messages raised there, sorted."""
    found: dict[str, set[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        if path.is_symlink() or "conf" in path.relative_to(SOURCE).parts[:1]:
            continue
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        for text in _raised(ast.parse(path.read_text(encoding="utf-8"))):
            if len(re.sub(r"[…\W]+", " ", text)) >= SHORTEST:
                found.setdefault(room, set()).add(text)
    return {room: sorted(texts, key=str.lower) for room, texts in found.items()}


def _raised(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name.endswith("Error") and name not in ("ValueError", "TypeError", "AssertionError", "KeyError"):
                yield from _texts(node.args[0])


def _texts(node: ast.expr) -> Iterator[str]:
    """The text of an expression; of a choice, both."""
    if isinstance(node, ast.IfExp):
        yield from _texts(node.body)
        yield from _texts(node.orelse)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        for left in _texts(node.left):
            yield from (re.sub("…+", "…", left + right) for right in _texts(node.right))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        parts = [str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values]
        yield re.sub("…+", "…", "".join(parts))
    else:
        yield "…"


def _plain(text: str) -> str:
    """Text that Markdown leaves as it is."""
    return re.sub(r"([\\`*_<>\[\]{}|#])", r"\\\1", " ".join(text.split()))
