"""A really written folder held against what is declared of it (`shopkeeper.formats`)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shopkeeper.folders import ALWAYS
from shopkeeper.formats import Field, File, Folder

KINDS: dict[str, tuple[type, ...]] = {
    "text": (str,), "int": (int,), "number": (int, float), "bool": (bool,), "list": (list,), "object": (dict,),
    "null": (type(None),),
}  # fmt: skip
NOT_DECLARED = "manifest.json.sha256"  # beside a bundle alone, where it is declared


def differences(folder: Folder, place: Path) -> list[str]:
    """What a folder holds that is not declared of it, and what it lacks."""
    names = sorted(p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file())
    ours = [n for n in names if n in ("manifest.json", NOT_DECLARED) or not re.fullmatch(ALWAYS, n)]
    wrong = [f"{name}: no such file is declared" for name in ours if not _declared(folder, name)]
    for one in folder.files:
        found = [name for name in ours if _matches(one.name, name) and _declared(folder, name) is one]
        if not found and not one.optional:
            wrong.append(f"{one.name} is missing")
        wrong += [f"{name}: {said}" for name in found for said in _file(one, place / name)]
    return wrong


def _declared(folder: Folder, name: str) -> File | None:
    """The declaration of a file: by its own name before one that stands for many."""
    found = [one for one in folder.files if _matches(one.name, name)]
    return min(found, key=lambda one: _vague(one.name), default=None)


def _vague(name: str) -> tuple[int, int]:
    """How much of a name is left open: the least vague declaration counts."""
    return name.count("<"), -len(re.sub("<[^>]*>", "", name))


def _matches(pattern: str, name: str) -> bool:
    parts = re.split(r"(<[^>]*>)", pattern)
    words = [(".*" if pattern.endswith(part) else "[^/]*") if part[:1] == "<" else re.escape(part) for part in parts]
    return re.fullmatch("".join(words), name) is not None


def _file(one: File, path: Path) -> list[str]:
    if path.suffix == ".npy" and "(" in one.meaning:
        array = np.load(path)
        dimensions = one.meaning.partition("(")[2].partition(")")[0].count(",")
        right = str(array.dtype) in re.findall(r"\w+", one.meaning.partition("(")[0]) and array.ndim == max(
            1, dimensions
        )
        return [] if right else [f"{array.dtype} {array.shape}, not {one.meaning}"]
    if not one.fields:
        return []
    if path.suffix == ".parquet":
        return _names({f.name: arrow(f.type) for f in pq.read_schema(path)}, one.fields, lambda kind, is_: kind == is_)
    return _json(json.loads(path.read_text(encoding="utf-8")), one.fields, "")


def arrow(kind: pa.DataType) -> str:
    """How a declaration calls a type."""
    if pa.types.is_dictionary(kind):
        return str(kind.value_type)
    if pa.types.is_list(kind):
        return f"list<{arrow(kind.value_type)}>"
    return str(kind)


def _names(found: Mapping[str, str], declared: Iterable[Field], equal: Any) -> list[str]:
    wrong, declared = [], list(declared)
    for name, kind in found.items():
        field = min((f for f in declared if _matches(f.name, name)), key=lambda f: _vague(f.name), default=None)
        if field is None:
            wrong.append(f"column {name} is not declared")
        elif field.kind != "any" and not equal(field.kind, kind):
            wrong.append(f"column {name} is {kind}, not {field.kind}")
    return wrong + [
        f"column {f.name} is missing"
        for f in declared
        if not f.optional and not any(_matches(f.name, n) for n in found)
    ]


def _json(value: Any, fields: Iterable[Field], path: str) -> list[str]:
    """Keys and kinds at every depth that is declared."""
    wrong: list[str] = []
    here: dict[str, list[Field]] = {}
    for field in fields:
        head, dot, rest = field.name.partition(".")
        here.setdefault(head.removesuffix("[]") if not dot else head, [])
        if dot:
            here[head].append(Field(rest, field.kind, field.meaning, field.optional))
    own = {f.name: f for f in fields if "." not in f.name}
    lists = {name.removesuffix("[]"): inner for name, inner in here.items() if name.endswith("[]")}
    if "" in lists:
        return [said for i, each in enumerate(value) for said in _json(each, lists[""], f"{path}[{i}].")][:5]
    names = {name.removesuffix("[]") for name in here}
    for key in value:
        name = min((n for n in names if _matches(n, str(key))), key=_vague, default=None)
        if name is None:
            wrong.append(f"{path}{key} is not declared")
            continue
        kinds = own[name].kind.split(" or ") if name in own else ["list" if name in lists else "object"]
        if "any" not in kinds and not any(type(value[key]) in KINDS[kind] for kind in kinds):
            wrong.append(f"{path}{key} is {value[key]!r:.40}, not {' or '.join(kinds)}")
            continue
        if inner := here.get(name):
            wrong += _json(value[key], inner, f"{path}{key}.") if isinstance(value[key], dict) else []
        for i, each in enumerate(value[key] if name in lists else []):
            wrong += _json(each, lists[name], f"{path}{key}[{i}].")
    for name in names:
        if not any(_matches(name, str(key)) for key in value) and not _optional(name, own, here):
            wrong.append(f"{path}{name} is missing")
    return wrong


def _optional(name: str, own: Mapping[str, Field], here: Mapping[str, list[Field]]) -> bool:
    if name in own:
        return own[name].optional or "<" in name
    return "<" in name or all(f.optional or "<" in f.name for f in [*here.get(name, []), *here.get(f"{name}[]", [])])
