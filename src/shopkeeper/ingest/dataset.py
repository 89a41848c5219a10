"""A dataset's config (conf/dataset/<name>.yaml), checked: every option is known and of the right kind.

name                 required; the prepared folder is called so
title source licence what it is, where people get it, on which terms
raw                  folder (below paths.raw) and files (names or patterns like day-*.csv, read in that order)
reader               format (see readers/__init__.py) and that format's options
columns              our name: name in the file; a list of names makes one id of several columns, and one time of a
                     date and a time of day
constants            our name: the one value of every row (data without items)
timestamp            unit (s ms us ns) | format (strptime) [+ year]; time_zone of local times; not_before, not_after
event_type           one of schema.EVENT_TYPES for all rows, or value | column + map, and rules (column, matches, value)
reject               rules (column, matches, reason): rows that are kept aside with that reason
schema               per column of ours: required, required_for (event types); numbers: min, above, max;
                     ids: matches (regular expression)
price_is             unit (default) or total of the row's quantity
missing              names that stand for nobody or nothing in this shop (`[NA, guest]`, or per column of ours
                     `{user_id: [NA], order_id: ["0"]}`): such ids count as blank. Default: none; `0` is a real
                     customer somewhere, so `prepare` tells how many rows such names have, and this decides
order_days           an order number that comes back after as many days is another order (default 1; null: never)
extra                further columns of events.parquet: name: name in the file
items users          attribute tables (see attributes.py)
filters              event_types retention_days repeats (seconds [of: orders | all]: rows that were sent again) bots
                     consecutive_repeats k_core min_history max_history
max_rejected_share   above it the run stops (default 0.01)
simulate             settings of the simulated shop, in place of raw and reader
target_events filter_seen temporal churn …   read by splits and tasks, not here
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shopkeeper.errors import UserError, nearest
from shopkeeper.identifiers import normal_id
from shopkeeper.schema import EVENT_COLUMNS, event_codes
from shopkeeper.timeline.zones import zone_of

KEYS = {
    "name", "title", "source", "licence", "default_split", "target_events", "filter_seen", "raw", "reader", "columns",
    "timestamp", "event_type", "reject", "schema", "items", "users", "filters", "temporal", "churn", "profit",
    "max_rejected_share", "simulate", "consent", "identity", "defaults", "pseudonyms", "constants", "price_is", "extra",
    "erasure", "ties", "missing", "order_days", "observed_from", "observed_until",
}  # fmt: skip
ID_COLUMNS = ("user_id", "item_id", "session_id", "order_id", "channel")
MISSING_RULES, NUMBER_RULES = {"required", "required_for"}, {"min", "above", "max"}
COLUMN_RULES = {name: MISSING_RULES | {"matches"} for name in EVENT_COLUMNS} | {
    "timestamp": MISSING_RULES,
    "event_type": MISSING_RULES,
    "price": MISSING_RULES | NUMBER_RULES,
    "quantity": MISSING_RULES | NUMBER_RULES,
}
TIMESTAMP_KEYS = {"unit", "format", "time_zone", "year", "not_before", "not_after", "day_first"}
UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0.001, "d": 86_400_000_000}
FILTERS = (
    "event_types", "retention_days", "repeats", "bots", "consecutive_repeats", "k_core", "min_history", "max_history",
)  # fmt: skip


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
    reader: dict[str, Any]
    columns: dict[str, str]  # our name -> name in the file ("a+b" where several columns make one id)
    joined: dict[str, tuple[str, ...]]  # "a+b" -> its columns
    constants: dict[str, str]  # our name -> the one value of every row
    price_is: str  # "unit" or "total" (of the row's quantity)
    extra: dict[str, str]  # further column of events.parquet -> name in the file
    timestamp: dict[str, Any]
    event_value: str  # event type of every row that no rule or map gives another
    event_map: dict[str, str] | None  # value in the file -> event type
    event_rules: tuple[Rule, ...]
    reject: tuple[Rule, ...]
    rules: dict[str, dict[str, Any]]  # our column -> min, above, max, required, required_for, matches
    items: dict[str, Any]
    users: dict[str, Any]
    filters: dict[str, Any]
    max_rejected_share: float
    simulate: dict[str, Any] | None = None
    order_days: int | None = 1
    missing: dict[str, frozenset[str]] = field(default_factory=dict)  # our id column -> ids that count as blank
    carried: tuple[str, ...] = field(default=())  # columns of the file that go along: attributes, extra columns

    @property
    def zone(self) -> str:
        """The shop's time zone: whose days and hours are meant."""
        return zone_of(self.plain)

    @property
    def ordered_only(self) -> bool:
        """Whether the log has an order but no times."""
        return "timestamp" not in self.columns


def parse(config: Mapping[str, Any]) -> DatasetConfig:
    """Check a dataset config; a `UserError` names the option that is wrong and the nearest valid one."""
    plain = to_plain(config)
    name = str(plain.get("name") or "")
    if not name:
        raise UserError("the dataset config has no `name`; give it one (letters, digits, underscores)")
    where = f"conf/dataset/{name}.yaml"
    _known(where, "", plain, KEYS)
    simulate = plain.get("simulate")
    if not simulate and not (plain.get("raw") and plain.get("reader")):
        raise UserError(f"{where}: give `raw` (folder, files) and `reader` (format), or `simulate`")
    raw = plain.get("raw") or {}
    if not simulate:
        _known(where, "raw.", raw, {"folder", "files"})
    files = raw.get("files") or []
    sequences = not simulate and plain["reader"].get("format") == "sequences"
    given = {str(k): v for k, v in (plain.get("columns") or {}).items()}
    if sequences and not given:
        given = {"user_id": "user_id", "item_id": "item_id"}
    _known(where, "columns.", given, set(EVENT_COLUMNS))
    columns = {k: "+".join(map(str, v)) if isinstance(v, list) else str(v) for k, v in given.items()}
    joined = {columns[k]: tuple(map(str, v)) for k, v in given.items() if isinstance(v, list)}
    constants = {str(k): normal_id(v) for k, v in (plain.get("constants") or {}).items()}
    _known(where, "constants.", constants, {"user_id", "item_id", "channel"})
    for required in ("user_id", "item_id"):
        if not simulate and required not in {**columns, **constants}:
            raise UserError(f"{where}: columns.{required} is missing; say which column of the file holds it")
    timestamp = dict(plain.get("timestamp") or {})
    if timestamp and "timestamp" not in columns and not simulate:
        raise UserError(f"{where}: `timestamp` has options, but columns.timestamp does not say which column it is")
    _known(where, "timestamp.", timestamp, TIMESTAMP_KEYS)
    if "unit" in timestamp and columns.get("timestamp") in joined:
        n = len(joined[columns["timestamp"]])
        raise UserError(
            f"{where}: columns.timestamp names {n} columns and timestamp.unit says that it is a number; name one column"
        )
    if timestamp.get("unit", "s") not in UNITS:
        raise UserError(f"{where}: timestamp.unit is '{timestamp['unit']}'. Valid: {', '.join(UNITS)}.")
    value, mapping, rules = _event_type(where, plain.get("event_type"), columns)
    filters = {k: v for k, v in (plain.get("filters") or {}).items() if v is not None}
    _known(where, "filters.", filters, set(FILTERS))
    column_rules = _schema(where, plain.get("schema") or {}, None if simulate else columns)
    event_codes(list(plain.get("target_events") or []))
    items, users = dict(plain.get("items") or {}), dict(plain.get("users") or {})
    extra = {str(k): str(v) for k, v in (plain.get("extra") or {}).items()}
    carried = [c for table in (items, users) for c in (table.get("from_events") or {}).values()]
    if plain.get("price_is", "unit") not in ("unit", "total"):
        raise UserError(f"{where}: price_is is '{plain['price_is']}'; Valid: unit, total.")
    share = plain.get("max_rejected_share", 0.01)
    if not isinstance(share, int | float) or not 0 <= share <= 1:
        raise UserError(f"{where}: max_rejected_share is {share!r}; give a number from 0 to 1")
    return DatasetConfig(
        plain=plain,
        name=name,
        folder=str(raw.get("folder") or ""),
        files=tuple([files] if isinstance(files, str) else map(str, files)),
        reader=dict(plain.get("reader") or {}),
        columns=columns,
        joined=joined,
        constants=constants,
        price_is=str(plain.get("price_is", "unit")),
        extra=extra,
        timestamp=timestamp,
        event_value=value,
        event_map=mapping,
        event_rules=rules,
        reject=tuple(Rule(str(r["column"]), str(r["matches"]), str(r["reason"])) for r in plain.get("reject") or []),
        rules=column_rules,
        items=items,
        users=users,
        filters=filters,
        max_rejected_share=float(share),
        simulate=simulate,
        order_days=_order_days(where, plain.get("order_days", 1)),
        missing=_missing(where, plain.get("missing") or []),
        carried=tuple(dict.fromkeys(map(str, [*carried, *extra.values()]))),
    )


def find_files(config: DatasetConfig, raw: Path, names: Sequence[str]) -> list[Path]:
    """Paths of raw files (glob patterns allowed, sorted); a `UserError` says where people get what is missing."""
    folder = Path(raw) / config.folder
    found: list[Path] = []
    for name in names:
        matches = sorted(folder.glob(name)) if any(c in name for c in "*?[") else [folder / name]
        matches = [p for p in matches if p.is_file()]
        if not matches:
            source = config.plain.get("source")
            raise UserError(
                f"{folder / name} is missing: "
                + (f"get it from {source}, " if source else "")
                + f"put it into {Path(raw).resolve() / config.folder}, or point paths.raw (SHOPKEEPER_RAW) elsewhere"
            )
        found += matches
    return found


def to_plain(value: Any) -> Any:
    """Mappings (OmegaConf's too) and sequences as plain dicts and lists."""
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [to_plain(v) for v in value]
    return value


def _event_type(where: str, spec: Any, columns: dict[str, str]) -> tuple[str, dict[str, str] | None, tuple[Rule, ...]]:
    spec = {"value": spec} if isinstance(spec, str) else dict(spec or {})
    _known(where, "event_type.", spec, {"value", "column", "map", "rules"})
    if "column" in spec:
        columns["event_type"] = str(spec["column"])
    mapping = spec.get("map")
    if mapping is not None:
        mapping = {normal_id(k): str(v) for k, v in mapping.items()}
        event_codes(list(mapping.values()))
    value = str(spec.get("value", "view"))
    rules = tuple(Rule(str(r["column"]), str(r["matches"]), str(r["value"])) for r in spec.get("rules") or [])
    event_codes([value, *(r.value for r in rules)])
    return value, mapping, rules


def _missing(where: str, spec: Any) -> dict[str, frozenset[str]]:
    """The checked `missing:` setting: names by id column."""
    per_column = spec if isinstance(spec, Mapping) else dict.fromkeys(ID_COLUMNS, spec)
    _known(where, "missing.", per_column, ID_COLUMNS)
    for names in per_column.values():
        if not isinstance(names, list):
            raise UserError(f"{where}: missing is {names!r}; give a list of names, e.g. [NA, guest]")
    return {str(column): frozenset(map(normal_id, names)) for column, names in per_column.items() if names}


def _order_days(where: str, given: Any) -> int | None:
    if given is not None and (not isinstance(given, int) or isinstance(given, bool) or given < 1):
        raise UserError(f"{where}: order_days is {given!r}; give a whole number of at least 1, or null for never")
    return given


def _schema(where: str, spec: Any, columns: Mapping[str, str] | None) -> dict[str, dict[str, Any]]:
    """The checked `schema:` block; `columns` are those that the log has (None: not known yet)."""
    _mapping(where, "schema", spec)
    _known(where, "schema.", spec, COLUMN_RULES)
    for column, rule in spec.items():
        _mapping(where, f"schema.{column}", rule)
        _known(where, f"schema.{column}.", rule, COLUMN_RULES[column])
        if columns is not None and column not in columns:
            raise UserError(
                f"{where}: schema.{column} has rules, but no column; set columns.{column} or drop the rules"
            )
        for key in ("min", "above", "max"):
            if not isinstance(rule.get(key, 0), int | float):
                raise UserError(f"{where}: schema.{column}.{key} is {rule[key]!r}; give a number")
        kinds = rule.get("required_for", [])
        if not isinstance(kinds, list):
            raise UserError(f"{where}: schema.{column}.required_for is {kinds!r}; give a list of event types")
        event_codes(kinds)
    return {str(column): dict(rule) for column, rule in spec.items()}


def _mapping(where: str, name: str, given: Any) -> None:
    if not isinstance(given, Mapping):
        raise UserError(f"{where}: {name} is {given!r}; give options and their values")


def _known(where: str, prefix: str, given: Mapping[str, Any], valid: Collection[str]) -> None:
    for key in given:
        if key not in valid:
            raise UserError(f"{where}: unknown option `{prefix}{key}`.{nearest(str(key), valid)}")
