"""Where things are fetched, and how nobody's password gets into a config, a message or a run.

A config holds `$NAME` where a secret is wanted; the value of that variable is put in when the place is asked, and taken
out of every message. A password that stands in the config itself is refused: configs are copied into manifests.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

from shopkeeper.errors import UserError, without_secrets
from shopkeeper.ingest.dataset_parts import Fetch
from shopkeeper.shapes import Yaml
from shopkeeper.typed import made

_VARIABLE = re.compile(r"\$(\w+)")
DATABASES = ("postgresql", "postgres", "mysql", "mariadb", "sqlite", "duckdb")
_SECRET = re.compile(r"(?i)(pass|pwd|secret|token|key|credential|signature|authorization|cookie)")
_IN_QUERY = re.compile(r"(?i)[?&;](?:[\w.-]*(?:password|passwd|pwd|token|secret|key|signature)|sig)=([^&;]+)")


@dataclass(frozen=True)
class Address:
    """An entry of `raw.fetch` with its variables put in."""

    url: str
    options: Mapping[str, Any]
    shown: str  # how messages call it
    secrets: tuple[tuple[str, str], ...]  # value, the variable's name

    @property
    def scheme(self) -> str:
        """`postgresql`, `sqlite`, `s3`, …"""
        return self.url.partition("://")[0].lower()

    def hidden(self, text: str) -> str:
        """A message without any value that came out of a variable, on one line."""
        for value, name in self.secrets:
            text = text.replace(value, f"${name}")
        return str(without_secrets(" ".join(text.split())))


def filled(entry: Fetch) -> Address:
    """The entry with the values of the variables that it names.

    Raises:
        UserError: a variable that is not set.
    """
    secrets: dict[str, str] = {}

    def value(match: re.Match[str], whole: bool) -> str:
        name = match[1]
        found = os.environ.get(name)
        if not found:
            raise UserError(f"{entry.shown}: the environment variable {name} is not set; set it to what the URL needs")
        put = found if whole else quote(found, safe="")
        secrets.update({found: name, put: name})
        return put

    whole = _VARIABLE.fullmatch(entry.url) is not None
    url = _VARIABLE.sub(lambda match: value(match, whole), entry.url)

    def put(option: Any) -> Any:
        if isinstance(option, Mapping):
            return {key: put(inner) for key, inner in option.items()}
        if isinstance(option, list | tuple):
            return [put(inner) for inner in option]
        return _VARIABLE.sub(lambda match: value(match, True), option) if isinstance(option, str) else option

    options = put(entry.options)
    if whole and (password := urlsplit(url).password):
        secrets[password] = "password"
    longest_first = tuple(sorted(secrets.items(), key=lambda pair: -len(pair[0])))
    return Address(url, options, entry.shown, longest_first)


def fetch_of(where: str, entries: Sequence[Yaml]) -> tuple[Fetch, ...]:
    """The entries of `raw.fetch`.

    Raises:
        UserError: a password in the config itself, a database without a query, or a query of what is no database.
    """
    found: list[Fetch] = []
    for place, told in enumerate(entries):
        entry, path = made(Fetch, told), f"raw.fetch[{place}]"
        _check_no_secret(where, path, entry)
        asked, database = entry.query or entry.table, entry.url.partition("://")[0] in DATABASES
        if database and not asked:
            raise UserError(f"{where}: {path} names a database; say query or table")
        if asked and not database and not _VARIABLE.fullmatch(entry.url):
            raise UserError(f"{where}: {path} has a query, and its url is no database ({', '.join(DATABASES)})")
        if entry.query and entry.table:
            raise UserError(f"{where}: {path} has a query and a table; leave one out")
        if "://" not in entry.url and not asked:
            raise UserError(f"{where}: {path}.url is no URL; write it like s3://bucket/orders.csv")
        if entry.file and (PurePosixPath(entry.file).is_absolute() or ".." in PurePosixPath(entry.file).parts):
            raise UserError(f"{where}: {path}.file leads out of raw.folder; give a name below it")
        if any(entry.name == other.name and not entry.is_pattern for other in found):
            raise UserError(f"{where}: {path} and an entry above it both write {entry.name}; give each its own file")
        found.append(entry)
    return tuple(found)


def _check_no_secret(where: str, path: str, entry: Fetch) -> None:
    try:
        password = urlsplit(entry.url).password
    except ValueError:
        raise UserError(f"{where}: {path}.url is no URL; write it like s3://bucket/orders.csv") from None
    plain = [password] if password else []
    plain += _IN_QUERY.findall(entry.url)
    plain += [value.removeprefix("Bearer ") for value in _secret_options(entry.options)]
    if any(not _VARIABLE.fullmatch(value) for value in plain):
        raise UserError(
            f"{where}: {path} holds a password or key, and configs are copied into manifests; write $NAME in its place "
            f"and set the environment variable NAME"
        )


def _secret_options(value: Any, secret: bool = False) -> Iterator[str]:
    """Texts of options, however deep, that are called like a key."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _secret_options(inner, secret or bool(_SECRET.search(str(key))))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _secret_options(inner, secret)
    elif secret and isinstance(value, str):
        yield value
