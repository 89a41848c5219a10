"""The page of features: from the declarations in `conf/features/`, and what each group computes of an empty log."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from made.markdown import cell
from made.settings import CONF

from shopkeeper.data.requests import Events
from shopkeeper.features.customer.compute import GROUPS, customer_features
from shopkeeper.features.customer.declared import Attributes, Features, ItemVectors
from shopkeeper.features.customer.shop import Shop
from shopkeeper.pipeline.shell.yaml_comments import read
from shopkeeper.pipeline.stages.compose import composed
from shopkeeper.pipeline.told import plain
from shopkeeper.typed import read as settings

NOTHING = Events(np.zeros(0, np.int32), np.zeros(0, np.int8), np.zeros(0, np.int64))
SHOP = Shop(channels=("<channel>",))
AS_AN_EXAMPLE: dict[str, Any] = {
    "item_vectors": ItemVectors(run="<run of a recommender>"),
    "attributes": Attributes({"<number>": None, "<text>": ["<value>"]}),
}


def page() -> str:
    """The page in Markdown."""
    lines = [
        "# Features of customers",
        "",
        "Made from the declarations in `conf/features/`: what a model about customers knows of each at a cutoff, from",
        "nothing that lies at or after it. `features=usual` is taken unless another choice is named,",
        "`features.<group>=null` leaves a group out, and [settings](settings.md#features) change one. Times are",
        "in days, money in the log's currency; what is not known is no number (NaN). A bundle computes the same",
        "declaration from raw events.",
        "",
    ]
    seen: set[str] = set()
    for path in sorted((CONF / "features").glob("*.yaml"), key=lambda path: path.stem != "usual"):
        told = plain(composed("train", [f"features={path.stem}", "tracking=none"]))["features"]
        declared = settings(Features, told)
        new = {group: None for group in declared.groups if group not in seen}
        seen |= set(new)
        lines += [f"## features={path.stem}", "", read(path).about, ""]
        lines += _table(declared, new)
    rest = replace(Features(), **AS_AN_EXAMPLE)
    lines += [
        "## Declared by name alone",
        "",
        "A person names what they read: `+features.<group>.<setting>=…`.",
        "",
    ]
    lines += _table(rest, [group for group in GROUPS if group not in seen])
    return "\n".join(lines).rstrip() + "\n"


def _table(declared: Features, groups: Iterable[str]) -> list[str]:
    rows = ["| group | what it says | features |", "|---|---|---|"]
    for group in groups:
        names = ", ".join(f"`{name}`" for name in _names(declared, group))
        what = " ".join((inspect.getdoc(GROUPS[group]) or "").split("\n\n")[0].split())
        rows.append(f"| `{group}` | {cell(what)} | {names} |")
    return [*rows, ""]


def _names(declared: Features, group: str) -> list[str]:
    first = {"recency", "frequency", "money"} if group == "position" else set()
    alone = Features.from_json({name: told for name, told in declared.as_json().items() if name in first | {group}})
    names = customer_features(NOTHING, np.array([0, 0]), np.array([1]), np.array([0]), alone, SHOP).names
    return [name for name in names if not first or name.endswith("_position")]
