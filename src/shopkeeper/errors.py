"""Errors that are meant for the person at the keyboard, and the nearest valid name for what they mistyped."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any

Rule = tuple[str, Callable[[Any], bool]]  # what is wrong with a value that breaks it, whether a value keeps it


class UserError(ValueError):
    """Something the user can mend: bad data, a bad option, a missing file.

    The message is one line, names the file / column / option at fault and the way out. Entry points print it
    without a traceback and exit with code 1; so does a notebook. Programmer errors stay `assert`.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in a traceback's place."""
        return [f"{type(self).__name__}: {self}"]


class TooManyItemsError(UserError):
    """A model's own limit: the catalogue has more items than it carries. Who has other models may go on without it."""


MANY, SHOWN = 100, 10  # names that are all listed; of more than these, how many are
_NAMED = re.compile(r"(?i)\b([\w-]*(?:password|passwd|pwd|token|secret|access_key|api_key)[\w-]*=)[^&;\s\"']+")
_IN_ADDRESS = re.compile(r"(\w[\w+.-]*\\?://)[^\s\"'<>]*@")


def without_secrets(value: Any) -> Any:
    """Text, or nested dicts and lists of it, without what an address carries: `//user:password@`, `?token=…`."""
    if isinstance(value, str):
        return _NAMED.sub(r"\1…", _IN_ADDRESS.sub(r"\1", value))
    if isinstance(value, Mapping):
        return {k: without_secrets(v) for k, v in value.items()}
    return [without_secrets(v) for v in value] if isinstance(value, list | tuple) else value


def nearest(name: str, valid: Iterable[str]) -> str:
    """Say which valid name is closest: `"sasrek"` -> `" Did you mean 'sasrec'? Valid: …"` (leading blank included).

    "" where no name is valid; of many, such as the items of a shop, the first ones and how many more there are.
    """
    options = sorted(set(valid))
    if not options:
        return ""
    plain = {option.casefold(): option for option in reversed(options)}  # names that differ in case alone are nearest
    close = [plain[found] for found in difflib.get_close_matches(name.casefold(), plain, n=1, cutoff=0.4)]
    hint = f" Did you mean '{close[0]}'?" if close else ""
    more = len(options) - SHOWN if len(options) > MANY else 0
    shown = options[:SHOWN] if more else options
    return f"{hint} Valid: {', '.join(shown)}{f' and {more:,} more' if more else ''}."


def check(values: Mapping[str, Any], rules: Mapping[str, Rule], where: str = "") -> None:
    """A `UserError` for the first value that breaks the rule of its name: `where` + name, the value, what is wrong."""
    for name, (wrong, kept) in rules.items():
        if name in values and not kept(values[name]):
            raise UserError(f"{where}{name}={values[name]} {wrong}")


WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null",
         dict: "names and their values", list: "a list"}  # fmt: skip


def check_kinds(values: Mapping[str, Any], kinds: Mapping[str, tuple[type, ...]], where: str = "") -> None:
    """A `UserError` for the first value that is of none of the kinds of its name. A whole number is a number, too."""
    for name, of in kinds.items():
        if name not in values:
            continue
        value = values[name]
        if type(value) not in of and not (type(value) is int and float in of):
            raise UserError(f"{where}{name}={value} must be {' or '.join(WORDS[kind] for kind in of)}")


def whole(least: int) -> Rule:
    """A whole number from `least` on."""
    return f"must be a whole number of at least {least}", lambda x: _is(x, Integral) and x >= least


def number(least: float = 0.0, *, above: bool = False, below: float = math.inf) -> Rule:
    """A number from `least` on (or above it) and below another one; not NaN."""
    end = "" if below == math.inf else f" and below {below:g}"
    return (
        f"must be a number {'above' if above else 'of at least'} {least:g}{end}",
        lambda x: _is(x, Real) and (least < x if above else least <= x) and x < below,
    )


def share(*, above: bool = False) -> Rule:
    """A number from 0 (or above it) to 1."""
    words = "above 0 and at most 1" if above else "from 0 to 1"
    return f"must be a number {words}", lambda x: number(above=above)[1](x) and x <= 1


def one_of(*valid: Any) -> Rule:
    """One of these values."""
    return f"is not known; choose {' or '.join(map(str, valid))}", lambda x: any(x is v or x == v for v in valid)


def or_null(rule: Rule) -> Rule:
    """None, or what the rule wants."""
    return f"{rule[0]}, or null", lambda x: x is None or rule[1](x)


def _is(x: Any, kind: type) -> bool:
    return isinstance(x, kind) and not isinstance(x, bool)
