"""Which source files decide what a module does: the file itself and all of this package that it imports, told by hash.

Read from the source (`ast`), not by importing: also what is imported within a function counts, and nothing has to be
installed. A model is found by the name in its YAML and imported at run time, so no model is in another's closure.
What a file says is remembered as its hash is (`hashing`).
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from shopkeeper.hashing import remembered

PACKAGE = Path(__file__).parent
NAME = PACKAGE.name
Known = dict[str, tuple[Path, dict[str, Any]] | None]  # module -> its file and what that says; None: no source
PAGE = (".css", ".html", ".js")


def code_of(*modules: str) -> dict[str, str]:
    """File (below the package) -> hash of its code, without comments and docstrings, for all that `modules` import."""
    return {name: said["code"][:16] for name, said in sorted(_closure(modules).items())}


def source_of(*modules: str, without: tuple[str, ...] = (), known: Known | None = None) -> dict[str, str]:
    """File (below the package) -> hash of its bytes, for all that `modules` import, and for what a page is made of.

    `without`: modules, with what is below them, that are left out and not followed. `known` is filled with what was
    looked at, and not looked at again: for one moment's questions about many modules.
    """
    found = {name: said["bytes"] for name, said in _closure(modules, without, known).items()}
    for room in [PACKAGE / name for name in found if name.endswith("/__init__.py")]:
        pages = [p for place in (room.parent, room.parent / "templates") for p in place.glob("*.*") if p.suffix in PAGE]
        found |= {p.relative_to(PACKAGE).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in pages}
    return {name: found[name][:16] for name in sorted(found)}


def differences(before: dict[str, str], now: dict[str, str], shown: int = 3) -> str:
    """The files that differ, in words."""
    names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def _closure(
    modules: Iterable[str], without: tuple[str, ...] = (), known: Known | None = None
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    known = {} if known is None else known
    left_out = tuple(f"{name}." for name in without)
    waiting = list(modules)
    seen: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module in seen or f"{module}.".startswith(left_out):
            continue
        seen.add(module)
        if module not in known:
            path = _file(module)
            known[module] = None if path is None else (path, json.loads(remembered("code", path, _read)))
        looked_at = known[module]
        if looked_at is None:
            continue
        path, said = looked_at
        found[path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else path.name] = said
        waiting += said["imports"]
        parts = module.split(".")
        waiting += [".".join(parts[:n]) for n in range(1, len(parts))] if parts[0] == NAME else []
    return found


def _file(module: str) -> Path | None:
    """The source of a module: of this package by its name, of another (a user's own model) as Python finds it."""
    parts = module.split(".")
    if parts[0] == NAME:
        place = PACKAGE.joinpath(*parts[1:])
        return next((p for p in (place.with_suffix(".py"), place / "__init__.py") if len(parts) > 1 and p.is_file()),
                    place / "__init__.py" if len(parts) == 1 else None)  # fmt: skip
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    origin = None if spec is None else spec.origin
    return Path(origin) if origin and origin.endswith(".py") else None


def _read(path: Path) -> str:
    """What is remembered of a file: hashes of its bytes and of its code, and what of this package it imports."""
    source = Path(path).read_bytes()
    tree = ast.parse(source)
    imports = sorted(set(_imports(tree)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    code = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    return json.dumps({"bytes": hashlib.sha256(source).hexdigest(), "code": code, "imports": imports})


def _imports(tree: ast.AST) -> Iterator[str]:
    """Modules of this package, each name of a `from … import` too: it may be one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == NAME)
