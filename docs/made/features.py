"""The page of features: from the declarations in `conf/features/`, and what each group computes of an empty log."""

from __future__ import annotations

import inspect

import numpy as np
import yaml
from made.markdown import cell
from made.settings import CONF

from shopkeeper.data.requests import Events
from shopkeeper.features.customer.compute import GROUPS, customer_features
from shopkeeper.features.customer.declared import Features
from shopkeeper.features.customer.shop import Shop
from shopkeeper.pipeline.shell.yaml_comments import read
from shopkeeper.typed import read as settings

NOTHING = Events(np.zeros(0, np.int32), np.zeros(0, np.int8), np.zeros(0, np.int64))
SHOP = Shop(channels=("<channel>",))


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
    for path in sorted((CONF / "features").glob("*.yaml")):
        said = read(path)
        declared = settings(Features, yaml.safe_load(path.read_text(encoding="utf-8")))
        lines += [
            f"## features={path.stem}",
            "",
            said.about,
            "",
            "| group | what it says | features |",
            "|---|---|---|",
        ]
        for group in declared.groups:
            names = ", ".join(f"`{name}`" for name in _names(declared, group))
            what = " ".join((inspect.getdoc(GROUPS[group]) or "").split("\n\n")[0].split())
            lines.append(f"| `{group}` | {cell(what)} | {names} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _names(declared: Features, group: str) -> tuple[str, ...]:
    alone = Features.from_json({group: declared.as_json()[group]})
    return customer_features(NOTHING, np.array([0, 0]), np.array([1]), np.array([0]), alone, SHOP).names
