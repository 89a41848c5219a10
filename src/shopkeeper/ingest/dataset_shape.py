"""Which keys a dataset's YAML may hold, and what each may be; what they mean stands in `dataset.py`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from shopkeeper import configuration
from shopkeeper.errors import Rule, UserError, nearest, number, or_null, whole
from shopkeeper.ingest import steps
from shopkeeper.ingest.dataset_parts import (
    FORMATS,
    KIND,
    WHEN,
    Cancelled,
    ColumnRule,
    CustomerRules,
    Fetch,
    Filters,
    Label,
    Queries,
    ReaderSettings,
    RowSettings,
    SideTable,
    Table,
    Timestamp,
)
from shopkeeper.ingest.exports import Export
from shopkeeper.schema import EVENT_COLUMNS
from shopkeeper.shapes import (
    ANY,
    PLAIN,
    SWITCH,
    TEXT,
    Each,
    Items,
    Maybe,
    Name,
    Needed,
    OneOf,
    Shape,
    Yaml,
    check_shape,
)
from shopkeeper.simulated.settings import Simulation
from shopkeeper.timeline import CustomerSpec, SplitSettings
from shopkeeper.typed import shapes_of

ID_COLUMNS = ("user_id", "item_id", "session_id", "order_id", "channel")
# As the folder below data/prepared is called.
NAME: Rule = (
    "must be a name of letters, digits, - and _",
    lambda x: isinstance(x, str) and re.fullmatch(r"\w[\w. -]*", x) is not None,
)
FOLDER: Rule = ("must be text, a folder below paths.raw", lambda x: x is None or isinstance(x, str))

COLUMNS: Rule = (
    "must be the name of a column, or a list of names which make one id or one time",
    lambda x: PLAIN[1](x) or (isinstance(x, list | tuple) and len(x) > 0 and all(map(PLAIN[1], x))),
)
BLANK = Items(PLAIN)  # names that stand for nobody
# What files of one kind may say of themselves, where a log is made of several kinds.
OF_A_LOG = ("reader", "columns", "constants", "timestamp", "event_type", "reject", "schema", "price_is", "extra",
            "optional", "rows", "divide_by", "missing", "steps", "cancelled", "export")  # fmt: skip
RULE = shapes_of(ColumnRule)
REQUIRED = {key: RULE[key] for key in ("required", "required_for")}
AMOUNT = REQUIRED | {key: RULE[key] for key in ("min", "above", "max")}
DATASET: dict[str, Shape] = {
    "name": Needed(NAME),
    **dict.fromkeys(("title", "source", "licence", "default_split"), or_null(PLAIN)),
    "defaults": ANY,  # Hydra's
    "target_events": Items(KIND, least=1),
    **dict.fromkeys(("filter_seen", "refit"), SWITCH),
    "raw": {"folder": FOLDER, "files": OneOf(TEXT, Items(TEXT, least=1)), "fetch": Items(shapes_of(Fetch))},
    "reader": shapes_of(ReaderSettings),
    "rows": shapes_of(RowSettings),
    "columns": Each(COLUMNS, (*EVENT_COLUMNS, "query")),
    "constants": Each(PLAIN, ("user_id", "item_id", "channel")),
    "timestamp": shapes_of(Timestamp),
    "event_type": OneOf(
        KIND,
        {
            "value": KIND,
            "column": PLAIN,
            "map": Each(KIND),
            "others": Name(("reject", "leave_out")),
            "any_case": SWITCH,
            "rules": Items(dict.fromkeys(("column", "matches"), Needed(PLAIN)) | {"value": Needed(KIND)}),
        },
    ),
    "reject": Items(dict.fromkeys(("column", "matches", "reason"), Needed(PLAIN))),
    "cancelled": shapes_of(Cancelled),
    "schema": {
        **{column: REQUIRED | {"matches": RULE["matches"]} for column in EVENT_COLUMNS},
        **dict.fromkeys(("timestamp", "event_type"), REQUIRED),
        **dict.fromkeys(("price", "quantity"), AMOUNT),
    },
    "queries": shapes_of(Queries),
    "price_is": Name(("unit", "total")),
    "divide_by": {name: number(above=True) for name in ("price", "quantity")},
    "extra": Each(PLAIN),
    "items": shapes_of(SideTable),
    "users": shapes_of(SideTable),
    "filters": shapes_of(Filters),
    "missing": Each(BLANK, (*ID_COLUMNS, "price", "quantity")),  # or one list for all columns of ids
    "order_days": or_null(whole(1)),
    "optional": Items(PLAIN),
    "steps": Items(steps.shape()),
    "order_by": Items(PLAIN),
    "export": shapes_of(Export),
    "max_rejected_share": ("must be a number from 0 to 1", lambda x: number()[1](x) and x <= 1),
    "observed_from": WHEN,
    "observed_until": WHEN,
    "simulate": shapes_of(Simulation),
    "temporal": {key: shape for key, shape in SplitSettings.RULES.items() if key not in ("by", "folds")},
    "currency": or_null(PLAIN),  # of the log's prices
    "profit": Each(Maybe(PLAIN)),  # `evaluation/profit.py`
    **shapes_of(CustomerRules),
}

FILES = Needed(OneOf(TEXT, Items(TEXT, least=1)))
DATASET["logs"] = Items({"files": FILES} | {key: DATASET[key] for key in OF_A_LOG})


def shape() -> dict[str, Shape]:
    """What a dataset's YAML may hold: what stands above, and windows for each task of `conf/task`, under its name.

    A table of customers in place of a log (`table.py`) has a column of labels for some of the tasks.
    """
    tasks = configuration.names("task")
    table = shapes_of(Table) | {"labels": Needed(Each(Needed(shapes_of(Label)), tasks))}
    return dict.fromkeys(tasks, CustomerSpec.RULES) | DATASET | {"table": table}


def check_dataset(config: Any, where: str | None = None) -> str:
    """The file that a dataset's config lies in, for messages; a `UserError` for what does not belong there.

    `where`: what it is called where it lies in no file.
    """
    found = config if isinstance(config, Mapping) else {}
    where = (
        where or f"conf/dataset/{found['name']}.yaml" if isinstance(found.get("name"), str) else "the dataset's config"
    )
    one_list = {} if isinstance(found.get("missing"), Mapping) else {"missing": BLANK}
    check_shape(config, Needed(shape() | one_list), where)
    for path, reader in _readers(found):
        check_reader(reader, where, path)
    return where


def check_reader(settings: Yaml, where: str, path: str = "reader") -> None:
    """A `UserError` for a format that is none, or an option that the format has not; no format is for others to say."""
    if "format" not in settings:
        return
    name = settings["format"]
    if name not in FORMATS:
        raise UserError(f"{where}: {path}.format: unknown format '{name}'.{nearest(str(name), FORMATS)}")
    for key, value in settings.items():
        if value is not None and key not in (*FORMATS[name], "format"):  # null: as if it were not there
            raise UserError(
                f"{where}: unknown option `{path}.{key}` of {path}.format={name}.{nearest(str(key), FORMATS[name])}"
            )


def _readers(config: Yaml) -> Iterator[tuple[str, Mapping[str, Any]]]:
    places: dict[str, Any] = {}
    logs = config.get("logs")
    kinds = {"": config} | {f"logs[{i}].": log for i, log in enumerate(logs if isinstance(logs, list) else ())}
    places |= {f"{path}reader": log for path, log in kinds.items()}
    for path, log in kinds.items():
        for i, step in enumerate(log.get("steps") or ()):
            places[f"{path}steps[{i}].join.reader"] = step.get("join") or {}
    for table in ("items", "users"):
        places[f"{table}.reader"] = config.get(table) or {}
        places[f"{table}.id_map.reader"] = places[f"{table}.reader"].get("id_map") or {}
    yield from ((path, place["reader"]) for path, place in places.items() if place.get("reader"))
