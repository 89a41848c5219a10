"""What a YAML of a person's may hold: which keys, and values of which kind, at every depth.

A shape is one of
    a rule of `errors`            a single value
    a dict {key: shape}           a block of known keys, each of which may be left out; null stands for an empty block
    Each(shape, keys)             a block of any keys (or of these), with values of one shape
    Open({key: shape}, other)     the same, with any other keys beside them, or with those that end in a word
    Items(shape, least)           a list with values of one shape; null stands for an empty one
    Name(valid)                   one of these names, of which the nearest is told
    OneOf(shape of text, other)   text in one shape, anything else in another
    Maybe(shape)                  null as well
    Needed(shape)                 what a block must have, as soon as anything stands in it
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from shopkeeper.errors import Rule, UserError, nearest

Yaml = Mapping[str, Any]  # settings as a YAML has them: written down, hashed, and what a class is made of
LONGEST = 60  # characters of a value in a message


@dataclass(frozen=True)
class Each:
    """A block of any keys, or of `keys`."""

    shape: Shape
    keys: Collection[str] | None = None


@dataclass(frozen=True)
class Open:
    """A block in which these keys have a shape, and any others may stand, if their names end so."""

    shapes: Mapping[str, Any]
    others: Any = None  # a shape; None: anything
    ending: str = ""


@dataclass(frozen=True)
class Items:
    """A list of at least so many."""

    shape: Shape
    least: int = 0


@dataclass(frozen=True)
class Name:
    """One of a few names."""

    valid: Collection[str]


@dataclass(frozen=True)
class OneOf:
    """Text, or something else."""

    text: Shape
    other: Shape


@dataclass(frozen=True)
class Needed:
    """What a block cannot be without, as soon as anything stands in it."""

    shape: Shape


@dataclass(frozen=True)
class Maybe:
    """Null, or what the shape wants."""

    shape: Shape


Shape = Rule | Mapping[str, Any] | Each | Open | Items | Name | OneOf | Needed | Maybe

TEXT: Rule = ("must be text", lambda x: isinstance(x, str) and x.strip() != "")
TO_MEND = re.compile(r"; (set it|fill it in or remove it|give (a list|options).*)$")  # what a person would do about it
CHARACTERS: Rule = ("must be text", lambda x: isinstance(x, str) and x != "")  # a blank is one
NUMBER: Rule = ("must be a number", lambda x: type(x) in (int, float) and isfinite(x))
PLAIN: Rule = (
    "must be text or a number (in quotes, where YAML reads something else)",
    lambda x: (isinstance(x, str) and x != "") or NUMBER[1](x),
)
SWITCH: Rule = ("must be true or false", lambda x: isinstance(x, bool))
ANY: Rule = ("", lambda x: True)


def check_shape(value: Any, shape: Shape, where: str, path: str = "") -> None:
    """A `UserError` for the first key or value (below `path`) that has no place in a shape.

    `where` is the file, or whatever else the value was read from.
    """
    if isinstance(shape, Needed | Maybe):
        if value in (None, {}) and isinstance(shape, Needed):
            raise UserError(f"{where}: {path or 'all of it'} is empty; set it")
        if value is not None:
            check_shape(value, shape.shape, where, path)
    elif isinstance(shape, OneOf):
        check_shape(value, shape.text if isinstance(value, str) else shape.other, where, path)
    elif isinstance(shape, tuple):
        wrong, right = shape
        if not right(value):
            raise UserError(f"{where}: {path} is {_shown(value)}; it {wrong}")
    elif isinstance(shape, Name):
        if not isinstance(value, str) or value not in shape.valid:
            raise UserError(f"{where}: {path} is {_shown(value)}, no known one.{nearest(str(value), shape.valid)}")
    elif value is None and not (isinstance(shape, Items) and shape.least):
        return
    elif isinstance(shape, Items):
        if not isinstance(value, list | tuple) or len(value) < shape.least:
            raise UserError(f"{where}: {path} is {_shown(value)}; give a list: [..., ...]")
        for place, item in enumerate(value):
            if item in (None, {}):
                raise UserError(f"{where}: {path}[{place}] is empty; fill it in or remove it")
            check_shape(item, shape.shape, where, f"{path}[{place}]")
    else:
        _check_block(value, shape, where, path)


def check_written(value: Any, shape: Shape, file: str, way_out: str) -> None:
    """`check_shape` for what a command wrote: by hand it is not to be mended, so `way_out` is said instead."""
    try:
        check_shape(value, shape, f"{file} was changed")
    except UserError as e:
        raise UserError(f"{TO_MEND.sub('', str(e))}; {way_out}") from None


def _check_block(value: Any, shape: Mapping[str, Any] | Each | Open, where: str, path: str) -> None:
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: {path or 'all of it'} is {_shown(value)}; give options and their values")
    keys = shape.keys if isinstance(shape, Each) else None if isinstance(shape, Open) else shape
    shapes = shape.shapes if isinstance(shape, Open) else {} if isinstance(shape, Each) else shape
    ending = shape.ending if isinstance(shape, Open) else ""
    any_other = (shape.shape if isinstance(shape, Each) else shape.others if isinstance(shape, Open) else None) or ANY
    for key, inner in value.items():
        name = f"{path}.{key}" if path else str(key)
        if key not in (shapes if keys is None else keys) and not (keys is None and str(key).endswith(ending)):
            raise UserError(f"{where}: unknown option `{name}`.{nearest(str(key), shapes if keys is None else keys)}")
        check_shape(inner, shapes.get(key, any_other), where, name)
    if value and (lacks := [key for key, inner in shapes.items() if isinstance(inner, Needed) and key not in value]):
        others = ", ".join(str(key) for key in value if key not in shapes)
        beside = f" (beside {others})" if others else ""
        raise UserError(f"{where}: {path or 'it'} lacks `{lacks[0]}`{beside}; set it")


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
