"""The page of models: from each YAML of `conf/model/`, its class and what that declares (`models/about.py`)."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from made.markdown import cell, docstring, table

from shopkeeper.models.about import CUSTOMERS, About
from shopkeeper.models.make import declared, make
from shopkeeper.pipeline.shell.yaml_comments import Commented, read
from shopkeeper.pipeline.stages.compose import composed
from shopkeeper.pipeline.told import plain

ROOT = Path(__file__).parents[2]
TITLES = {
    "counting": "Counting", "item_pairs": "From pairs of items", "knn": "Neighbours", "factors": "Factors",
    "networks": "Networks", "cold": "For what nobody has bought yet", "combined": "Of other models",
    "recbole": "RecBole's", "oracle": "Oracles of simulated shops", "customers": "About customers",
}  # fmt: skip
"""Folder of the class -> heading."""
NEEDED = {"recbole": ["model.name=BPR"]}  # what a model cannot be made without


def page() -> str:
    """The page in Markdown."""
    sections: dict[str, list[str]] = {}
    rows = ["| `model=` | what it is | answers with | |", "|---|---|---|---|"]
    for path in sorted((ROOT / "conf" / "model").glob("*.yaml")):
        said, told = read(path), _told(path.stem)
        model = make(told)
        about = declared(model)
        rows.append(
            f"| [`{path.stem}`](#{path.stem}) | {cell(_first(said.about))} | {_answers(about)} | {_also(about)} |"
        )
        sections.setdefault(_group(type(model)), []).extend(_section(path.stem, said, type(model), about, told))
    lines = ["# Models", "", "Made from `conf/model/*.yaml` and from what each class declares. A setting is given as",
             "`model.<setting>=…`. One of your own is [one file and one YAML](../project/contributing.md#add-a-model).",
             "", *rows]  # fmt: skip
    for group in sorted(sections, key=[*TITLES].index):
        lines += ["", f"## {TITLES[group]}", *sections[group]]
    return "\n".join(lines) + "\n"


def _told(name: str) -> Mapping[str, Any]:
    words = ["dataset=demo_shop", f"model={name}", "tracking=none", *NEEDED.get(name, ())]
    told: Mapping[str, Any] = plain(composed("train", words))["model"]
    return told


def _group(cls: type) -> str:
    _, room, folder, *_ = cls.__module__.split(".")
    return "oracle" if folder == "oracle" else "customers" if room == "customers" else folder


def _section(name: str, said: Commented, cls: type, about: About, told: Mapping[str, Any]) -> list[str]:
    tasks = told.get("tasks") or told.get("task")
    facts = [f"Tasks: {'every one about customers' if tasks == CUSTOMERS else _names(tasks)}"]
    facts += [f"answers with {_answers(about)}"]
    facts += [f"reads {_names(about.reads)} beside items"] if about.reads else []
    facts += [_also(about)] if _also(about) else []
    space = ROOT / "conf" / "tuning" / "space" / f"{name}.yaml"
    facts += [f"searched by `tune` in {_names(list(_keys(space)))}"] if space.is_file() else []
    lines = ["", f"### {name}", "", said.about, "", "; ".join(facts) + "."]
    if about.not_exported:
        lines += ["", f"Not exported: {about.not_exported}."]
    if text := docstring(inspect.getdoc(inspect.getmodule(cls)) or ""):
        lines += ["", '??? note "How it works"', "", *(f"    {line}" if line else "" for line in text.splitlines())]
    hidden = ("name", "task", "tasks", "target")
    if own := tuple(one for one in said.settings if one.name not in hidden):
        lines += ["", *table(own)]
    return lines


def _answers(about: About) -> str:
    return ", ".join((about.answers, *about.also))


def _also(about: About) -> str:
    told = {"reads the instant": about.reads_instant, "resumes": about.resumes, "starts warm": about.starts_warm,
            "explains its scores": about.explains, "several tasks at once": about.further,
            "knows the simulation": bool(about.oracle)}  # fmt: skip
    return ", ".join(words for words, holds in told.items() if holds)


def _names(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in ([names] if isinstance(names, str) else names))


def _keys(space: Path) -> Mapping[str, Any]:
    import yaml

    found: Mapping[str, Any] = yaml.safe_load(space.read_text(encoding="utf-8"))
    return found


def _first(text: str) -> str:
    """The first sentence."""
    end = text.find(". ")
    return text if end < 0 else text[: end + 1]
