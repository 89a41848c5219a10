"""The pages of settings: each group of `conf/` with its choices, and what the comments in its YAMLs say."""

from __future__ import annotations

import inspect
from pathlib import Path

import yaml
from made.markdown import cell, table

from shopkeeper.ingest import dataset as dataset_keys
from shopkeeper.pipeline.shell.verbs import VERBS
from shopkeeper.pipeline.shell.yaml_comments import Commented, read

CONF = Path(__file__).parents[2] / "conf"
GROUPS = {
    "split": "How the log is divided into training, validation and test.",
    "task": "What is asked: the next item, or what customers will do in a window.",
    "features": "What models about customers know of them; [each feature](features.md) has a page of its own.",
    "trainer": "How the arithmetic of a network's training is carried out; what is learned, the model's settings say.",
    "loss": "What networks that name `loss: ${loss}` learn by.",
    "rerank": "Orders of a finished list: `rerank=[diverse,fresh]`.",
    "placement": "Where in the shop a list stands: `placement=cart`.",
    "audience": "Whom to write to: `audience=win_back`.",
    "campaign": "Randomised campaigns that `uplift` learns from.",
    "tuning": "How settings are searched: `tuning=tpe`. What is searched stands in `conf/tuning/space/<model>.yaml`.",
    "engine": "What prepares the log.",
    "tracking": "Where runs are logged.",
    "paths": "Where things lie.",
}
"""Group of `conf/` -> what it is about; models, datasets and sources have pages of their own."""


def page() -> str:
    """The page in Markdown."""
    lines = ["# Settings", "", "Made from the YAMLs of `conf/` and their comments. Any is given on the command line as",
             "`name=value`; a misspelt one, or a value of another kind, ends in one line with the nearest valid name.",
             "[Settings of models](models.md) and [of datasets](datasets.md) have pages of their own.", "",
             "## Every verb", "", *table(read(CONF / "config.yaml").settings)]  # fmt: skip
    for verb, text in VERBS.items():
        said = read(CONF / f"{verb}.yaml")
        own = table(said.settings) if said.settings else ["Beside those of every verb it has none of its own."]
        lines += ["", f"## {verb}", "", f"{text[:1].upper()}{text[1:]}.", "", *own]
    for group, about in GROUPS.items():
        lines += ["", f"## {group}", "", about, *_choices(group)]
    return "\n".join(lines) + "\n"


def _choices(group: str) -> list[str]:
    found = {path.stem: read(path) for path in sorted((CONF / group).glob("*.yaml"))}
    lines = ["", f"| `{group}=` | what it is |", "|---|---|"]
    lines += [f"| `{name}` | {cell(said.about)} |" for name, said in found.items()]
    names = {name: [one.name for one in said.settings] for name, said in found.items()}
    for name, said in found.items():
        own = _own(said)
        if not own.settings or any(names[name] == names[other] for other in found if other < name):
            continue  # the same settings as those of a choice above, with other values
        lines += ["", f"### {group}={name}", "", *table(own.settings)]
    return lines


def _own(said: Commented) -> Commented:
    """Without the name, which is the choice itself."""
    return Commented(said.about, tuple(one for one in said.settings if one.name != "name"))


def datasets_page() -> str:
    """The page of datasets: what a dataset's YAML may say, and those that come along."""
    keys = inspect.getdoc(dataset_keys) or ""
    lines = ["# Datasets", "", "A dataset is one YAML in `conf/dataset/`; [Your own data](../guides/own-data.md)",
             "says how to write one. Its keys:", "", "```text", *keys.splitlines()[2:], "```", "",
             "## What comes along", "", "Read from `data/raw`, or from the folder that `SHOPKEEPER_RAW` names.", "",
             "| `dataset=` | what | in | where people get it | licence |", "|---|---|---|---|---|"]  # fmt: skip
    for path in sorted((CONF / "dataset").glob("*.yaml")):
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
        words = [str(told.get(key) or "") for key in ("title", "source", "licence")]
        words[0] = words[0] or read(path).about.partition(". ")[0]
        folder = (told.get("raw") or {}).get("folder")
        words.insert(1, f"`{folder}/`" if folder else "")
        lines.append(f"| `{path.stem}` | {' | '.join(map(cell, words))} |")
    return "\n".join(lines) + "\n"
