"""Settings as classes: a block of a composed config becomes a frozen dataclass, its names, kinds and ranges checked.

A class says its names by its fields, their kinds by annotations (int, float, bool, str, Path, tuple[…, ...], Mapping,
another such class, any of them or None); what else a value must be, `held` says beside its default as a shape of
`shapes`, or the class in its `RULES`, by name. A field `plain` holds the block as it was composed, for what is written
down or hashed; a field `parameters` takes all that has no field of its own; an `Open` shape may say what that is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from shopkeeper.errors import whole
from shopkeeper.shapes import ANY, NUMBER, SWITCH, TEXT, Each, Items, Maybe, Needed, Open, Shape, check_shape

T = TypeVar("T")
WHERE = "the configuration"  # files and command line in one
OWN = ("plain", "parameters")
KINDS: dict[Any, Shape] = {
    int: whole(0), float: NUMBER, bool: SWITCH, str: TEXT, Path: TEXT, Mapping: Open({}), Any: ANY,
}  # fmt: skip


def held(shape: Shape, default: Any = MISSING, factory: Callable[[], Any] | None = None) -> Any:
    """A field whose values keep a shape; without a default it must be given."""
    if factory is not None:
        return field(default_factory=factory, metadata={"shape": shape})
    return field(default=default, metadata={"shape": shape})


def shapes_of(cls: type) -> dict[str, Shape]:
    """What each field of a class may be where it is given, by name."""
    found: dict[str, Shape] = {}
    for f in fields(cls):
        if f.name not in OWN:
            said = _said(cls, f)
            shape = _shape(_hints(cls)[f.name], lenient=False) if said is None else said
            found[f.name] = shape if _has_default(f) or isinstance(shape, Needed) else Needed(shape)
    return found


def read(cls: type[T], values: Any, path: str = "", *, lenient: bool = False) -> T:
    """An object of a class of settings; a `UserError` for the first name or value that has no place in it.

    Args:
        cls: the class.
        values: the block, as Hydra composed it; None stands for an empty one.
        path: where the block lies, e.g. `report`.
        lenient: leave out what the class does not know: settings that another version wrote down.
    """
    block, needs = _block(cls, lenient), not all(map(_has_default, fields(cls)))  # type: ignore[arg-type]
    check_shape(values, Needed(block) if needs else block, WHERE, path)
    return made(cls, values or {})


@cache
def _block(cls: type, lenient: bool) -> Shape:
    shapes: dict[str, Any] = {}
    others = Open({})
    for f in fields(cls):
        said = _said(cls, f)
        if f.name == "parameters":
            others = said or others
        elif f.name != "plain":
            shape = _shape(_hints(cls)[f.name], lenient) if said is None else said
            bare = shape.shape if isinstance(shape, Needed) else shape
            must_be = not _has_default(f) or (isinstance(said, Needed) and not lenient)
            shapes[f.name] = Needed(bare) if must_be else bare
    if lenient:
        return Open(shapes)
    return replace(others, shapes={**shapes, **others.shapes}) if "parameters" in _hints(cls) else shapes


def _said(cls: type, f: Field[Any]) -> Any:
    """The shape that a class gives one of its fields; None where it gives none."""
    return f.metadata.get("shape", vars(cls).get("RULES", {}).get(f.name))


def _has_default(f: Field[Any]) -> bool:
    return f.default is not MISSING or f.default_factory is not MISSING


def _shape(hint: Any, lenient: bool) -> Shape:
    kind, may_be_null = _kind(hint)
    if is_dataclass(kind):
        block = _block(kind, lenient)  # type: ignore[arg-type]
        return Maybe(block) if may_be_null else Needed(block)
    if get_origin(kind) is tuple:
        shape: Shape = Items(_shape(get_args(kind)[0], lenient))
    elif get_origin(kind) is Mapping and is_dataclass(get_args(kind)[1]):
        shape = Each(_shape(get_args(kind)[1], lenient))
    else:
        shape = KINDS[get_origin(kind) or kind]
    return Maybe(shape) if may_be_null else shape


def _kind(hint: Any) -> tuple[Any, bool]:
    """A hint without its `| None`, and whether it had one."""
    if get_origin(hint) not in (Union, UnionType):
        return hint, False
    (kind,) = [each for each in get_args(hint) if each is not NoneType]
    return kind, True


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def made(cls: type[T], values: Mapping[str, Any]) -> T:
    """An object of a class from a block that was checked before."""
    hints, names = _hints(cls), [f.name for f in fields(cls) if f.name not in OWN]  # type: ignore[arg-type]
    found = {}
    for name in names:
        if name in values:
            kind, may_be_null = _kind(hints[name])
            value, block = values[name], get_origin(kind) in (tuple, Mapping) or is_dataclass(kind)
            if is_dataclass(kind) and may_be_null and value == {} and not all(map(_has_default, fields(kind))):
                value = None  # a block that says nothing of what it must
            found[name] = _value({} if block and value is None and not may_be_null else value, kind)
    if "parameters" in hints:
        found["parameters"] = {str(key): value for key, value in values.items() if key not in names}
    if "plain" in hints:
        found["plain"] = dict(values)
    return cls(**found)


def _value(value: Any, kind: Any) -> Any:
    if value is None or kind is Any:
        return value
    if is_dataclass(kind):
        return made(kind, value)  # type: ignore[arg-type]
    if get_origin(kind) is tuple:
        return tuple(_value(each, get_args(kind)[0]) for each in value)
    if get_origin(kind) is Mapping:
        return {str(key): _value(each, get_args(kind)[1]) for key, each in value.items()}
    return value if isinstance(value, bool) or kind not in (Path, str) else kind(value)
