"""The blocks of a dataset's config that say how its files are read and what is left of them, as classes.

What they mean stands in `dataset.py`; a field says what it may be, and `dataset_shape.py` checks a YAML by that.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from shopkeeper.data.queries import BUCKETS, CUSTOMERS
from shopkeeper.errors import Rule, number, or_null, whole, without_secrets
from shopkeeper.schema import EVENT_TYPES
from shopkeeper.shapes import ANY, CHARACTERS, NUMBER, PLAIN, SWITCH, TEXT, Each, Items, Maybe, Name, Needed, OneOf
from shopkeeper.timeline.instants import INSTANT
from shopkeeper.typed import held

UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0.001, "d": 86_400_000_000}
KIND = Name(EVENT_TYPES)
WHEN = or_null(INSTANT)
COUNT = or_null(whole(0))
AT_LEAST_ONE = or_null(whole(1))
ONE = "must be one ASCII character (`::` files: reader.format: dat)"
CHARACTER: Rule = (ONE, lambda x: isinstance(x, str) and len(x.encode()) == 1)
SEVERAL: Rule = (
    "must be a value of the column, or a list of some (in quotes, where YAML reads something else)",
    lambda x: PLAIN[1](x) or (isinstance(x, list | tuple) and len(x) > 0 and all(map(PLAIN[1], x))),
)


def _is_encoding(name: Any) -> bool:
    try:
        codecs.lookup(name)
    except (LookupError, TypeError, ValueError):
        return False
    return True


ENCODING: Rule = ("must be the name of an encoding, such as utf-8, latin-1 or cp1252", _is_encoding)

IF_THERE = "if_there"  # of a reader's header: some copies of a set have one


@dataclass(frozen=True)
class Timestamp:
    """How a file writes its times, and which are believed."""

    unit: str | None = held(Maybe(Name(UNITS)), None)  # of numbers; None: seconds, where the column holds numbers
    format: str | None = held(Maybe(TEXT), None)  # of texts, as strptime has it; None: ISO 8601
    time_zone: str = held(TEXT, "UTC")  # of times that name none: the shop's
    year: int | None = held(whole(1900), None)  # before times that lack it
    not_before: Any = held(WHEN, None)  # None: 1980
    not_after: Any = held(WHEN, None)  # None: a day from now


@dataclass(frozen=True)
class ReaderSettings:
    """A file's format and what that format lets one say of it (`FORMATS`); null: what the format usually is."""

    format: str = held(TEXT, "")
    delimiter: str | None = held(Maybe(CHARACTER), None)
    decimal: str | None = held(Maybe(CHARACTER), None)
    quote: str | None = held(Maybe((ONE, lambda x: x == "" or CHARACTER[1](x))), None)  # "": the file does not quote
    encoding: str | None = held(Maybe(ENCODING), None)
    header: Any = held(Maybe(OneOf(Name((IF_THERE,)), SWITCH)), None)  # if_there: a first line that has one of `names`
    names: tuple[str, ...] = held(Maybe(Items(PLAIN)), ())  # of the columns, where there is no header
    skip_lines: int | None = held(Maybe(whole(0)), None)
    sheets: Any = held(Maybe(OneOf(TEXT, Items(TEXT))), None)  # of a workbook: one, some; None: all
    pairs: bool | None = held(Maybe(SWITCH), None)  # lines of a user and an item in place of a user and all items


@dataclass(frozen=True)
class RowSettings:
    """What rows of the file become events; see `rows.py`."""

    explode: Any = held(OneOf(TEXT, Items(TEXT, least=1)), ())  # a column of lists, or several of equal length
    empty: str = held(Name(("keep", "leave_out")), "keep")  # what becomes of a row whose list is empty
    once: str | None = held(TEXT, None)  # column of an id that each row has of its own: later rows with it are left out
    # once: an order in several files is read from the last of them; first: and of a purchase that was sent again the
    # first sending alone; None: all count, as nobody has said it
    orders: str | None = held(Name(("all", "once", "first")), None)

    @property
    def lists(self) -> tuple[str, ...]:
        """Columns that are exploded together."""
        return (self.explode,) if isinstance(self.explode, str) else tuple(self.explode)

    @property
    def once_each(self) -> bool:
        """Whether an order counts once, wherever it stands."""
        return self.orders in ("once", "first")


OF_TEXT = ("delimiter", "decimal", "quote", "encoding", "header", "names", "skip_lines")
FORMATS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("csv", "tsv", "dat", "blank_separated", "recbole"), OF_TEXT),
    "parquet": (), "json_lines": ("encoding",), "excel": ("sheets", "skip_lines"), "sequences": ("pairs", "encoding"),
}  # fmt: skip


@dataclass(frozen=True)
class Fetch:
    """A query of a database or files of an object store, which `prepare` makes files below raw.folder."""

    url: str = held(Needed(TEXT))  # $NAME in it is an environment variable: no password stands in a config
    query: str | None = held(TEXT, None)  # of a database, in its SQL; say ORDER BY, else rows may come in any order
    table: str | None = held(TEXT, None)  # or a whole table
    file: str | None = held(TEXT, None)  # name below raw.folder; None: as it is called there, or data.parquet
    options: Mapping[str, Any] = held(Each(ANY), factory=dict)  # of the store, as fsspec takes them; MySQL's driver's

    @property
    def shown(self) -> str:
        """How messages call it: without a user's name, password or key."""
        return str(without_secrets(self.url))

    @property
    def is_pattern(self) -> bool:
        """Whether the URL means whatever matches it; `?` begins a query, which may hold a key and names no file."""
        return any(c in self._path for c in "*[")

    @property
    def _path(self) -> str:
        return self.url.partition("://")[2].partition("?")[0]

    @property
    def name(self) -> str:
        """The file below raw.folder, or a pattern of several; from the first wildcard's folder on."""
        if self.file or self.query or self.table:
            return self.file or "data.parquet"
        parts = self._path.split("/")
        wild = [i for i, part in enumerate(parts) if any(c in part for c in "*[")]
        return "/".join(parts[min([*wild, len(parts) - 1]) :])


@dataclass(frozen=True)
class IdMap:
    """A table of two columns, `ours` and `theirs`: ids of the log, and those of a table of items or users."""

    file: str = held(Needed(TEXT))
    reader: ReaderSettings | None = None


@dataclass(frozen=True)
class SideTable:
    """A table of items or users; see `arrange/attributes.py`."""

    file: str | None = held(TEXT, None)  # None: attributes come from events alone
    reader: ReaderSettings | None = None  # None: as the log
    id: str | None = held(PLAIN, None)  # column of the external id; None: item_id or user_id
    columns: Mapping[str, str] = held(Each(PLAIN), factory=dict)  # attribute -> column; none: all
    lists: Mapping[str, str] = held(Each(CHARACTERS), factory=dict)  # attribute -> what separates its texts
    id_map: IdMap | None = None
    valid_from: str | None = held(PLAIN, None)  # column of instants: the table holds versions
    from_events: Mapping[str, str] = held(Each(PLAIN), factory=dict)  # attribute -> column of the log
    timestamp: Timestamp | None = None  # None: as the log


@dataclass(frozen=True)
class Repeats:
    """Rows that were sent again."""

    seconds: float = held(Needed(number(below=1e9)))  # how long after an equal row
    of: str | None = held(Name(("orders", "all")), None)  # None: orders, where there are any
    at_once: bool = held(SWITCH, True)  # false: equal rows of one instant are lines of one order, and all stay


@dataclass(frozen=True)
class Bots:
    """More events in an hour or a day than a person makes."""

    per_hour: int | None = held(AT_LEAST_ONE, None)
    per_day: int | None = held(AT_LEAST_ONE, None)

    def __bool__(self) -> bool:
        return bool(self.per_hour or self.per_day)


@dataclass(frozen=True)
class Filters:
    """What is left out of the whole log, in the order in which it is; see `arrange/filters.py`."""

    event_types: tuple[str, ...] = held(Items(KIND), ())  # those that stay; none: all
    retention_days: float | None = held(or_null(number(above=True)), None)
    repeats: Repeats | None = None
    bots: Bots | None = None
    consecutive_repeats: bool | None = held(or_null(SWITCH), None)
    k_core: int | None = held(COUNT, None)  # under protocol=strict the split's business
    min_history: int | None = held(COUNT, None)
    max_history: int | None = held(COUNT, None)

    @property
    def asked(self) -> dict[str, Any]:
        """Those that leave something out, as a prepared folder's manifest has them: name -> setting."""
        said = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: _written(value) for name, value in said.items() if value}


def _written(value: Any) -> Any:
    if isinstance(value, Repeats | Bots):
        return {key: inner for key, inner in asdict(value).items() if inner is not None}
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class ColumnRule:
    """What values of one of our columns must be, else their rows are rejected."""

    required: bool = held(SWITCH, False)
    required_for: tuple[str, ...] = held(Items(KIND), ())  # event types
    matches: str | None = held(TEXT, None)  # a regular expression, of ids
    min: float | None = held(NUMBER, None)
    above: float | None = held(NUMBER, None)
    max: float | None = held(NUMBER, None)


@dataclass(frozen=True)
class Cancelled:
    """Which rows are of orders that were cancelled after they were placed, and what becomes of them."""

    column: str | None = held(PLAIN, None)  # of the file
    matches: str | None = held(TEXT, None)  # a regular expression
    orders: str = held(Name(("keep", "leave_out")), "keep")


@dataclass(frozen=True)
class Label:
    """The column of a table of customers that answers a task."""

    column: str = held(Needed(PLAIN))
    one: Any = held(SEVERAL, None)  # what is label 1; None: the column holds numbers
    zero: Any = held(SEVERAL, None)  # and what 0; None: the one other value


@dataclass(frozen=True)
class Table:
    """A table of customers in place of a log; see `table.py`."""

    labels: Mapping[str, Label]  # by task
    numbers: tuple[str, ...] = held(Items(PLAIN), ())
    categories: tuple[str, ...] = held(Items(PLAIN), ())
    missing: tuple[str, ...] = held(Items(PLAIN), ())  # texts that stand for what is not known
    repeated: str = held(Name(("refuse", "first", "last")), "refuse")


@dataclass(frozen=True)
class Queries:
    """Which searches are kept as text."""

    customers: int = held(whole(1), CUSTOMERS)  # that must have asked it
    buckets: int = held(whole(1), BUCKETS)  # for all others


AS_OF: Rule = (f"{INSTANT[0]}, or 'cutoff' or 'latest'", lambda x: x in ("cutoff", "latest") or INSTANT[1](x))


@dataclass(frozen=True)
class Erasure:
    """Who is no longer to be in the data."""

    file: str | None = held(Maybe(TEXT), None)
    column: str | None = held(Maybe(PLAIN), None)  # None: user_id
    sha256: str | None = held(TEXT, None)  # of the file, filled in by `people.rules.pin_rules`


@dataclass(frozen=True)
class Identity:
    """Which keys are one person's."""

    file: str | None = held(Maybe(TEXT), None)
    columns: Mapping[str, str] = held(Each(PLAIN), factory=dict)
    from_events: Mapping[str, str] = held(Each(PLAIN, ("account", "key")), factory=dict)  # columns of the log
    as_of: Any = held(Maybe(AS_OF), None)  # None: cutoff
    sha256: str | None = held(TEXT, None)


@dataclass(frozen=True)
class Consent:
    """Who has agreed to a purpose, and when."""

    file: str | None = held(Maybe(TEXT), None)
    columns: Mapping[str, str] = held(Each(PLAIN), factory=dict)
    purpose: str | None = held(Maybe(PLAIN), None)
    as_of: Any = held(Maybe(AS_OF), None)  # None: cutoff
    sha256: str | None = held(TEXT, None)


@dataclass(frozen=True)
class Pseudonyms:
    """Ids that only the holder of a key can tell."""

    key_env: str | None = held(Maybe(TEXT), None)  # the variable that holds the key
    key_id: str | None = held(TEXT, None)


@dataclass(frozen=True)
class Ties:
    """In which order events of one instant stand."""

    order: str | None = held(Maybe(Name(("file", "shuffled"))), None)  # None: file
    seed: int = held(whole(0), 0)


@dataclass(frozen=True)
class CustomerRules:
    """What is done to a log before anything else, by `people/rules.py`, in this order; None: nothing."""

    erasure: Erasure | None = None
    identity: Identity | None = None
    consent: Consent | None = None
    pseudonyms: Pseudonyms | None = None
    ties: Ties | None = None
