"""Which source files decide what a module does: the file itself and all of this package that it imports, told by hash.

Read from the source (`ast`), not by importing: also what is imported within a function counts, and nothing has to be
installed. A model is found by the name in its YAML and imported at run time, so no model is in another's closure.
Of a module of the user's own what it imports of theirs counts, too: other files of its package, and whatever else is
not installed; libraries do not. What a file says is remembered as its hash is (`hashing`).
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec
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
            known[module] = None if path is None else (path, json.loads(remembered("source", path, _read)))
        looked_at = known[module]
        if looked_at is None:
            continue
        path, said = looked_at
        parts = module.split(".")
        waiting += said["imports"]
        if parts[0] == NAME:
            found[path.relative_to(PACKAGE).as_posix()] = said
        else:
            found["/".join([*parts, path.name] if path.stem == "__init__" else [*parts[:-1], path.name])] = said
            waiting += _own(module, path, said["others"])
        waiting += [".".join(parts[:n]) for n in range(1, len(parts))]
    return found


def _own(module: str, path: Path, imports: Iterable[str]) -> Iterator[str]:
    """Of what a module of the user's own imports (dots before a name: as seen from the module) what is theirs."""
    package = module.split(".") if path.stem == "__init__" else module.split(".")[:-1]
    for name in imports:
        bare = name.lstrip(".")
        if up := len(name) - len(bare):
            yield ".".join([*package[: len(package) - up + 1], *([bare] if bare else [])])
        elif (top := bare.partition(".")[0]) == module.partition(".")[0] or not _is_installed(top):
            yield bare


def _is_installed(top: str) -> bool:
    """Whether a module or package is Python's own or a library's; also where there is none of that name."""
    import sysconfig

    if top in sys.stdlib_module_names or (spec := _spec(top)) is None:
        return True
    libraries = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    places = [Path(place) for place in (*(spec.submodule_search_locations or ()), spec.origin) if place]
    return any(
        {"site-packages", "dist-packages"} & set(place.parts) or any(map(place.resolve().is_relative_to, libraries))
        for place in places
    )


def _spec(top: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None


def _file(module: str) -> Path | None:
    """The source of a module: of this package by its name, of another (a user's own model) as Python finds it."""
    parts = module.split(".")
    if parts[0] == NAME:
        place = PACKAGE.joinpath(*parts[1:])
        return next(
            (p for p in (place.with_suffix(".py"), place / "__init__.py") if len(parts) > 1 and p.is_file()),
            place / "__init__.py" if len(parts) == 1 else None,
        )
    if not parts[0] or (spec := _spec(parts[0])) is None:
        return None
    if len(parts) == 1 and spec.origin:
        return Path(spec.origin) if spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():  # looked up here, since Python would import what is above it
        below = Path(folder).joinpath(*parts[1:])
        for file in (below.with_suffix(".py"), below / "__init__.py") if len(parts) > 1 else ():
            if file.is_file():
                return file
    return None


def _read(path: Path) -> str:
    """What is remembered of a file: hashes of its bytes and of its code, what it imports of this package, and else."""
    source = Path(path).read_bytes()
    tree = ast.parse(source)
    names = sorted(set(_imports(tree)))
    imports = [name for name in names if name.split(".")[0] == NAME]
    others = [name for name in names if name.split(".")[0] != NAME]
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
    of_bytes = hashlib.sha256(source).hexdigest()
    return json.dumps({"bytes": of_bytes, "code": code, "imports": imports, "others": others})


def _imports(tree: ast.AST) -> Iterator[str]:
    """Modules, each name of a `from … import` too: it may be one; as many dots before a name as the import has."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            of = "." * node.level + (node.module or "")
            yield of
            yield from (f"{of}.{alias.name}" if node.module else f"{of}{alias.name}" for alias in node.names)
