"""Which keys a dataset's YAML may hold, and what each may be; what they mean stands in `dataset.py`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from shopkeeper import configuration
from shopkeeper.errors import Rule, number, or_null, whole
from shopkeeper.schema import EVENT_COLUMNS, EVENT_TYPES
from shopkeeper.shapes import (
    ANY,
    CHARACTERS,
    NUMBER,
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
    check_shape,
)  # fmt: skip
from shopkeeper.timeline import CustomerSpec, SplitSettings
from shopkeeper.timeline.instants import INSTANT

UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0.001, "d": 86_400_000_000}
ID_COLUMNS = ("user_id", "item_id", "session_id", "order_id", "channel")
# As the folder below data/prepared is called.
NAME: Rule = (
    "must be a name of letters, digits, - and _",
    lambda x: isinstance(x, str) and re.fullmatch(r"\w[\w. -]*", x) is not None,
)
FOLDER: Rule = ("must be text, a folder below paths.raw", lambda x: x is None or isinstance(x, str))
KIND = Name(EVENT_TYPES)
WHEN = or_null(INSTANT)
COLUMNS: Rule = (
    "must be the name of a column, or a list of names which make one id or one time",
    lambda x: PLAIN[1](x) or (isinstance(x, list | tuple) and len(x) > 0 and all(map(PLAIN[1], x))),
)
READER = Each(ANY)  # each reader knows its own options (`readers/`)
TIMESTAMP: Shape = {
    "unit": Name(UNITS), "format": TEXT, "time_zone": TEXT, "year": whole(1900), "not_before": WHEN,
    "not_after": WHEN, "day_first": SWITCH,
}  # fmt: skip
TABLE: Shape = {
    "file": TEXT, "reader": READER, "id": PLAIN, "columns": Each(PLAIN), "lists": Each(CHARACTERS),
    "id_map": {"file": Needed(TEXT), "reader": READER}, "valid_from": PLAIN, "from_events": Each(PLAIN),
    "timestamp": TIMESTAMP,
}  # fmt: skip
REQUIRED: dict[str, Shape] = {"required": SWITCH, "required_for": Items(KIND)}
AMOUNT = REQUIRED | dict.fromkeys(("min", "above", "max"), NUMBER)
BLANK = Items(PLAIN)  # names that stand for nobody
SEVERAL: Rule = (
    "must be a value of the column, or a list of some (in quotes, where YAML reads something else)",
    lambda x: PLAIN[1](x) or (isinstance(x, list | tuple) and len(x) > 0 and all(map(PLAIN[1], x))),
)
FILTERS: dict[str, Shape] = {
    "event_types": Items(KIND),
    "retention_days": or_null(number(above=True)),
    "repeats": {"seconds": Needed(number(below=1e9)), "of": Name(("orders", "all"))},
    "bots": dict.fromkeys(("per_hour", "per_day"), or_null(whole(1))),
    "consecutive_repeats": or_null(SWITCH),
    **dict.fromkeys(("k_core", "min_history", "max_history"), or_null(whole(0))),
}
AS_OF: Rule = (f"{INSTANT[0]}, or 'cutoff' or 'latest'", lambda x: x in ("cutoff", "latest") or INSTANT[1](x))
# What is done to customers before anything else (`people/rules.py`); `sha256` and `key_id` are filled in there.
# Null switches off.
CUSTOMER_RULES: dict[str, Mapping[str, Shape]] = {
    "erasure": {"file": Maybe(TEXT), "column": Maybe(PLAIN), "sha256": TEXT},
    "identity": {"file": Maybe(TEXT), "columns": Each(PLAIN), "as_of": Maybe(AS_OF), "sha256": TEXT},
    "consent": {"file": Maybe(TEXT), "columns": Each(PLAIN), "purpose": Maybe(PLAIN), "as_of": Maybe(AS_OF),
                "sha256": TEXT},
    "pseudonyms": {"key_env": Maybe(TEXT), "key_id": TEXT},
    "ties": {"order": Maybe(Name(("file", "shuffled"))), "seed": whole(0)},
}  # fmt: skip
DATASET: dict[str, Shape] = {
    "name": Needed(NAME),
    **dict.fromkeys(("title", "source", "licence", "default_split"), or_null(PLAIN)),
    "defaults": ANY,  # Hydra's
    "target_events": Items(KIND, least=1),
    **dict.fromkeys(("filter_seen", "refit"), SWITCH),
    "raw": {"folder": FOLDER, "files": OneOf(TEXT, Items(TEXT, least=1))},
    "reader": READER,
    "columns": Each(COLUMNS, (*EVENT_COLUMNS, "query")),
    "constants": Each(PLAIN, ("user_id", "item_id", "channel")),
    "timestamp": TIMESTAMP,
    "event_type": OneOf(
        KIND,
        {
            "value": KIND,
            "column": PLAIN,
            "map": Each(KIND),
            "rules": Items(dict.fromkeys(("column", "matches"), Needed(PLAIN)) | {"value": Needed(KIND)}),
        },
    ),
    "reject": Items(dict.fromkeys(("column", "matches", "reason"), Needed(PLAIN))),
    "schema": {
        **{column: REQUIRED | {"matches": TEXT} for column in EVENT_COLUMNS},
        **dict.fromkeys(("timestamp", "event_type"), REQUIRED),
        **dict.fromkeys(("price", "quantity"), AMOUNT),
    },
    "queries": {"customers": whole(1), "buckets": whole(1)},
    "price_is": Name(("unit", "total")),
    "extra": Each(PLAIN),
    "items": TABLE,
    "users": TABLE,
    "filters": FILTERS,
    "missing": Each(BLANK, ID_COLUMNS),  # or one list for all of them
    "order_days": or_null(whole(1)),
    "max_rejected_share": ("must be a number from 0 to 1", lambda x: number()[1](x) and x <= 1),
    "observed_from": WHEN,
    "observed_until": WHEN,
    "simulate": Each(ANY),  # of which `simulated.read_settings` says more
    "temporal": {key: shape for key, shape in SplitSettings.RULES.items() if key not in ("by", "folds")},
    "profit": Each(Maybe(PLAIN)),  # `evaluation/profit.py`
    **CUSTOMER_RULES,
}


def shape() -> dict[str, Shape]:
    """What a dataset's YAML may hold: what stands above, and windows for each task of `conf/task`, under its name.

    A table of customers in place of a log (`table.py`) has a column of labels for some of the tasks.
    """
    tasks = configuration.names("task")
    table: dict[str, Shape] = {
        "labels": Needed(Each(Needed({"column": Needed(PLAIN), "one": SEVERAL, "zero": SEVERAL}), tasks)),
        **dict.fromkeys(("numbers", "categories", "missing"), Items(PLAIN)),
        "repeated": Name(("refuse", "first", "last")),
    }
    return dict.fromkeys(tasks, CustomerSpec.RULES) | DATASET | {"table": table}


def check_dataset(config: Any) -> str:
    """The file that a dataset's config lies in, for messages; a `UserError` for what does not belong there."""
    found = config if isinstance(config, Mapping) else {}
    where = f"conf/dataset/{found['name']}.yaml" if isinstance(found.get("name"), str) else "the dataset's config"
    one_list = {} if isinstance(found.get("missing"), Mapping) else {"missing": BLANK}
    check_shape(config, Needed(shape() | one_list), where)
    return where
