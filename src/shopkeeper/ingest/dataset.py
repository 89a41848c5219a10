"""A dataset's config (conf/dataset/<name>.yaml), checked: every option is known and of the right kind.

name                 required; the prepared folder is called so
title source licence what it is, where people get it, on which terms
raw                  folder (below paths.raw) and files (names or patterns like day-*.csv, read in that order); fetch:
                     queries of databases and files of object stores that `prepare` puts there first (`fetch/`)
reader               format (see readers/__init__.py) and that format's options; names: of a file without a header,
                     and with `header: if_there` also of copies that have one
rows                 what rows of the file become events, where one is not one event: explode, empty, once (`rows.py`);
                     `orders: once` where exports overlap: an order is read from the last file with it; `orders: first`:
                     and a purchase that was sent again counts as it was sent first (`overlap.py`)
columns              our name: name in the file; a list of names makes one id of several columns, and one time of a
                     date and a time of day; in nested files also `a.b`, a field, and `a[b]`, an
                     entry of a list of keys and values (`paths.py`);
                     `query`: what was typed, of events of type search (`data/queries.py`)
queries              customers (default 5): a query that fewer have asked is not kept as text, but as one of so many
                     buckets (default 500)
constants            our name: the one value of every row (data without items)
timestamp            unit (s ms us ns) | format (strptime) [+ year]; time_zone of local times; not_before, not_after
event_type           one of schema.EVENT_TYPES for all rows, or value | column + map, and rules (column, matches, value)
                     others: what becomes of rows whose kind is not in the map, reject (default) or leave_out;
                     any_case: true where `Purchase` and `purchase` are one
reject               rules (column, matches, reason): rows that are kept aside with that reason
cancelled            column, matches: rows of orders that were cancelled after they were placed. They stay (default;
                     nobody knew it then), or with `orders: leave_out` are kept aside
schema               per column of ours: required, required_for (event types); numbers: min, above, max;
                     ids: matches (regular expression)
price_is             unit (default) or total of the row's quantity
divide_by            price, quantity: so many times the amount the file has it (100: cents; 1000000: millionths)
missing              names that stand for nobody or nothing in this shop (`[NA, guest]`, or per column of ours
                     `{user_id: [NA], order_id: ["0"]}`): such ids count as blank. Default: none; `0` is a real
                     customer somewhere, so `prepare` tells how many rows such names have, and this decides.
                     `{quantity: ["0"]}`: a number that stands for none
order_days           an order number that comes back after as many days is another order (default 1; null: never)
extra                further columns of events.parquet: name: name in the file
optional             names in the file: columns that an export may lack, which then count as blank
steps                what is done to the rows between reading and checking, in this order: see ingest/steps/
logs                 several kinds of files that make one log, each with `files` and what differs from the above
                     (reader, columns, timestamp, event_type, reject, price_is, steps, optional …)
order_by             of a log without times: columns of numbers that say in which order events stand; none: file order
export               which known export this is (title, columns, since), for messages: see ingest/exports.py
items users          attribute tables (see attributes.py)
filters              event_types retention_days repeats (seconds [of: orders | all] [at_once: false]: rows that were
                     sent again) bots consecutive_repeats k_core min_history max_history
max_rejected_share   above it the run stops (default 0.01)
simulate             settings of the simulated shop, in place of raw and reader
table                a table of customers with labels in place of a log: see table.py
currency             of the log's prices, such as EUR: it stands beside every amount of a report
profit               the shop's own values of a campaign, see evaluation/profit.py
target_events filter_seen refit temporal …   read by splits and tasks, not here; a task's windows under its name
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from shopkeeper.errors import UserError
from shopkeeper.ids.spelling import normal_id
from shopkeeper.ingest.dataset_parts import (
    Cancelled,
    ColumnRule,
    Fetch,
    Filters,
    Queries,
    ReaderSettings,
    RowSettings,
    SideTable,
    Table,
    Timestamp,
)
from shopkeeper.ingest.dataset_shape import ID_COLUMNS, check_dataset
from shopkeeper.ingest.exports import Export
from shopkeeper.ingest.fetch.addresses import fetch_of
from shopkeeper.ingest.steps import steps_of
from shopkeeper.ingest.steps.settings import Step
from shopkeeper.ingest.table import as_log
from shopkeeper.shapes import Yaml
from shopkeeper.simulated.settings import Simulation
from shopkeeper.typed import made

T = TypeVar("T")
CANCELLED = "a cancelled order"  # why a row is kept aside


@dataclass(frozen=True)
class Rule:
    """`column` (name in the file) matching the regular expression `matches` means `value` (or a reason to reject)."""

    column: str
    matches: str
    value: str


@dataclass(frozen=True)
class DatasetConfig:
    """A checked dataset config; `plain` is the mapping it came from."""

    plain: dict[str, Any]
    name: str
    folder: str
    files: tuple[str, ...]
    reader: ReaderSettings
    columns: dict[str, str]  # our name -> name in the file ("a+b" where several columns make one id)
    joined: dict[str, tuple[str, ...]]  # "a+b" -> its columns
    constants: dict[str, str]  # our name -> the one value of every row
    price_is: str  # "unit" or "total" (of the row's quantity)
    extra: dict[str, str]  # further column of events.parquet -> name in the file
    timestamp: Timestamp
    event_value: str  # event type of every row that no rule or map gives another
    event_map: dict[str, str] | None  # value in the file -> event type
    event_rules: tuple[Rule, ...]
    reject: tuple[Rule, ...]
    rules: dict[str, ColumnRule]  # by our column
    items: SideTable
    users: SideTable
    filters: Filters
    max_rejected_share: float
    simulate: Simulation | None = None
    order_days: int | None = 1
    table: Table | None = None  # a table of customers in place of a log: `table.py`
    queries: Queries = field(default_factory=Queries)
    rows: RowSettings = field(default_factory=RowSettings)
    others: str = "reject"  # what becomes of rows whose event type is not in the map
    any_case: bool = False  # whether capital letters of event types tell nothing; keys of the map are small then
    divide_by: dict[str, float] = field(default_factory=dict)  # price, quantity
    missing: dict[str, frozenset[str]] = field(default_factory=dict)  # our id column -> ids that count as blank
    carried: tuple[str, ...] = field(default=())  # columns of the file that go along: attributes, extra columns
    optional: frozenset[str] = frozenset()  # columns that a file may lack
    steps: tuple[Step, ...] = ()  # between reading and checking
    logs: tuple[DatasetConfig, ...] = ()  # the kinds of files, where they are several
    order_by: tuple[str, ...] = ()  # columns of numbers that order a log without times
    export: Export | None = None  # the known export that the files are
    fetch: tuple[Fetch, ...] = ()  # what `prepare` makes files of, before it reads

    @property
    def zone(self) -> str:
        """The shop's time zone: whose days and hours are meant."""
        return self.timestamp.time_zone


def parse(config: Yaml) -> DatasetConfig:
    """Check a dataset config; a `UserError` names the option that is wrong and the nearest valid one."""
    told = to_plain(config)
    where = check_dataset(told)
    if (export := told.get("export") or {}).get("unfit"):
        way_out = export.get("instead")
        raise UserError(f"{where}: {export['title']} is no log: {export['unfit']}; {way_out}")
    if not told.get("logs"):
        return _parse(told, where)
    every = [_parse(merged(told, entry), where) for entry in told["logs"]]
    timed = ["timestamp" in each.columns for each in every]
    if any(timed) and not all(timed):
        raise UserError(f"{where}: logs[{timed.index(False)}] has no columns.timestamp, and others have; name it")

    def union(blocks: Iterator[dict[str, T]]) -> dict[str, T]:
        return {key: value for block in blocks for key, value in block.items()}

    latest = every[::-1]  # what an earlier kind says of a name counts
    return replace(
        every[0],
        plain=told,
        logs=tuple(every),
        files=tuple(dict.fromkeys(file for each in every for file in each.files)),
        columns=union(each.columns for each in latest),
        joined=union(each.joined for each in latest),
        constants=union(each.constants for each in latest),
        extra=union(each.extra for each in latest),
        carried=tuple(dict.fromkeys(column for each in every for column in each.carried)),
    )


def merged(told: Yaml, entry: Yaml) -> dict[str, Any]:
    """The config of one kind of files of `logs`: what is said of all of them, and over it what is said of it alone."""
    blocks = {key: {**(told.get(key) or {}), **(entry.get(key) or {})} for key in ("reader", "columns", "timestamp")}
    raw = {**(told.get("raw") or {}), "files": entry["files"]}
    rest = {key: value for key, value in entry.items() if key not in ("files", *blocks)}
    own = {key: value for key, value in told.items() if key != "logs"}
    return {**own, **rest, **{key: block for key, block in blocks.items() if block}, "raw": raw}


def _parse(told: dict[str, Any], where: str) -> DatasetConfig:
    plain = as_log(told) if told.get("table") else told
    simulate = plain.get("simulate")
    if not simulate and not (plain.get("raw") and plain.get("reader")):
        raise UserError(f"{where}: give `raw` (folder, files) and `reader` (format), or `simulate`")
    for key, block in {"reader": plain, "items.reader": plain.get("items"), "users.reader": plain.get("users")}.items():
        options = (block or {}).get("reader")
        if options and "format" not in options:
            raise UserError(f"{where}: {key}.format is missing beside {', '.join(options)}; name it")
    raw = plain.get("raw") or {}
    fetch = fetch_of(where, raw.get("fetch") or ())
    files = raw.get("files") or [entry.name for entry in fetch]
    columns, joined, constants = _columns(where, plain)
    timestamp = _timestamp(where, plain, columns, joined)
    value, mapping, rules = _event_type(plain.get("event_type"), columns)
    said = plain["event_type"] if isinstance(plain.get("event_type"), dict) else {}
    if "others" in said and not mapping:
        raise UserError(f"{where}: event_type.others says what becomes of kinds beside the map; set event_type.map")
    if said.get("any_case") and mapping is not None:
        mapping = {key.casefold(): kind for key, kind in mapping.items()}
    column_rules = _schema(where, plain.get("schema") or {}, None if simulate else columns)
    items, users = (made(SideTable, plain.get(table) or {}) for table in ("items", "users"))
    extra = {str(k): str(v) for k, v in (plain.get("extra") or {}).items()}
    steps = steps_of(plain.get("steps") or (), where)
    carried = [c for table in (items, users) for c in table.from_events.values()]
    carried += map(str, ((plain.get("identity") or {}).get("from_events") or {}).values())  # until persons are known
    _check_queries(where, plain, columns, joined, [*carried, *extra.values()])
    return DatasetConfig(
        plain=told,
        table=made(Table, told["table"]) if told.get("table") else None,
        name=str(plain["name"]),
        folder=str(raw.get("folder") or ""),
        fetch=fetch,
        files=tuple([files] if isinstance(files, str) else map(str, files)),
        reader=made(ReaderSettings, plain.get("reader") or {}),
        columns=columns,
        joined=joined,
        rows=made(RowSettings, plain.get("rows") or {}),
        others=str(said.get("others", "reject")),
        any_case=bool(said.get("any_case")),
        divide_by={str(k): float(v) for k, v in (plain.get("divide_by") or {}).items()},
        constants=constants,
        price_is=str(plain.get("price_is", "unit")),
        extra=extra,
        timestamp=timestamp,
        event_value=value,
        event_map=mapping,
        event_rules=rules,
        reject=_reject(where, plain),
        rules=column_rules,
        items=items,
        users=users,
        filters=made(Filters, plain.get("filters") or {}),
        max_rejected_share=float(plain.get("max_rejected_share", 0.01)),
        simulate=made(Simulation, simulate) if simulate else None,
        order_days=plain.get("order_days", 1),
        queries=made(Queries, plain.get("queries") or {}),
        missing=_missing(plain.get("missing") or []),
        carried=tuple(dict.fromkeys(map(str, [*carried, *extra.values()]))),
        optional=frozenset(map(str, plain.get("optional") or ())).union(*(step.may_lack() for step in steps)),
        steps=steps,
        order_by=tuple(map(str, plain.get("order_by") or ())),
        export=made(Export, plain["export"]) if plain.get("export") else None,
    )


def _columns(where: str, plain: Yaml) -> tuple[dict[str, str], dict[str, tuple[str, ...]], dict[str, str]]:
    """The log's columns by our name, those that are made of several, and what is the same in every row."""
    simulate = plain.get("simulate")
    sequences = not simulate and plain["reader"].get("format") == "sequences"
    given = {str(k): v for k, v in (plain.get("columns") or {}).items()}
    if sequences and not given:
        given = {"user_id": "user_id", "item_id": "item_id"}
    columns = {k: "+".join(map(str, v)) if isinstance(v, list) else str(v) for k, v in given.items()}
    joined = {columns[k]: tuple(map(str, v)) for k, v in given.items() if isinstance(v, list)}
    constants = {str(k): normal_id(v) for k, v in (plain.get("constants") or {}).items()}
    for required in ("user_id", "item_id"):
        searches = {"item_id": columns["query"]} if "query" in columns else {}  # a log of searches has no other items
        if not simulate and required not in {**columns, **constants, **searches}:
            raise UserError(f"{where}: columns.{required} is missing; say which column of the file holds it")
    return columns, joined, constants


def _timestamp(where: str, plain: Yaml, columns: Mapping[str, str], joined: Mapping[str, tuple[str, ...]]) -> Timestamp:
    timestamp = made(Timestamp, plain.get("timestamp") or {})
    if plain.get("timestamp") and "timestamp" not in columns and not plain.get("simulate"):
        raise UserError(f"{where}: `timestamp` has options, but columns.timestamp does not say which column it is")
    if timestamp.unit and columns.get("timestamp") in joined:
        n = len(joined[columns["timestamp"]])
        raise UserError(
            f"{where}: columns.timestamp names {n} columns and timestamp.unit says that it is a number; name one column"
        )
    if timestamp.year and not timestamp.format:
        raise UserError(f"{where}: timestamp.year stands before times that lack it; say how in timestamp.format")
    return timestamp


def _check_queries(
    where: str,
    plain: Yaml,
    columns: Mapping[str, str],
    joined: Mapping[str, tuple[str, ...]],
    kept: Sequence[str],
) -> None:
    """Hold what was typed to one column, which none of those that are kept as they are (`kept`) may be."""
    if "query" in columns and columns["query"] in joined:
        raise UserError(f"{where}: columns.query names several columns; name the one that holds what was typed")
    if plain.get("queries") and not plain.get("simulate") and "query" not in columns:
        raise UserError(f"{where}: `queries` has options, but columns.query does not say which column holds them")
    if columns.get("query") in kept:
        raise UserError(
            f"{where}: column '{columns['query']}' holds queries, whose texts are kept only where several customers "
            f"asked the same; leave it out of extra and from_events"
        )


def to_plain(value: Any) -> Any:
    """Mappings (OmegaConf's too) and sequences as plain dicts and lists."""
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [to_plain(v) for v in value]
    return value


def _event_type(spec: Any, columns: dict[str, str]) -> tuple[str, dict[str, str] | None, tuple[Rule, ...]]:
    spec = {"value": spec} if isinstance(spec, str) else dict(spec or {})
    if "column" in spec:
        columns["event_type"] = str(spec["column"])
    mapping = spec.get("map")
    if mapping is not None:
        mapping = {normal_id(k): str(v) for k, v in mapping.items()}
    rules = tuple(Rule(str(r["column"]), str(r["matches"]), str(r["value"])) for r in spec.get("rules") or [])
    return str(spec.get("value", "view")), mapping, rules


def _reject(where: str, plain: Yaml) -> tuple[Rule, ...]:
    """The rules by which rows are kept aside; that of cancelled orders among them, where these shall not stay."""
    rules = [Rule(str(r["column"]), str(r["matches"]), str(r["reason"])) for r in plain.get("reject") or []]
    told = made(Cancelled, plain.get("cancelled") or {})
    if told.orders == "leave_out":
        if not (told.column and told.matches):
            raise UserError(f"{where}: cancelled.orders is leave_out; say by column and matches which orders these are")
        rules.append(Rule(told.column, told.matches, CANCELLED))
    return tuple(rules)


def _missing(spec: Any) -> dict[str, frozenset[str]]:
    """The `missing:` setting: names by id column."""
    per_column = spec if isinstance(spec, Mapping) else dict.fromkeys(ID_COLUMNS, spec)
    return {str(column): frozenset(map(normal_id, names)) for column, names in per_column.items() if names}


def _schema(where: str, spec: Any, columns: Mapping[str, str] | None) -> dict[str, ColumnRule]:
    """The `schema:` block; `columns` are those that the log has (None: not known yet)."""
    for column in spec:
        if columns is not None and column not in columns:
            raise UserError(
                f"{where}: schema.{column} has rules, but no column; set columns.{column} or drop the rules"
            )
    return {str(column): made(ColumnRule, rule or {}) for column, rule in spec.items()}
