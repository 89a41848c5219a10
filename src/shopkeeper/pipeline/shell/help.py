"""`--help` of a verb: what it does, examples, its own settings with what its YAML says of each, and how to see all.

Read from the comments of `conf/`, so that it costs no import and says what the files say.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from shopkeeper import configuration
from shopkeeper.pipeline.shell.terminal import coloured, columns, program
from shopkeeper.pipeline.shell.yaml_comments import Setting, read

EXAMPLES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "prepare": (
        ("dataset=demo_shop", "a simulated shop; `shopkeeper new-dataset` begins with your file"),
        ("dataset=demo_shop split=leave_one_out", "each customer's last item is asked for"),
        ("dataset=demo_shop audit=full", "everything after the cutoff is changed, and nothing may move"),
    ),
    "train": (
        ("model=sasrec", "a sequence model on the default shop"),
        ("-m model=popularity,item_knn seed=1,2,3", "a sweep: six runs and their table"),
        ("task=spend model=lightgbm", "how much customers will spend"),
    ),
    "tune": (
        ("model=item_knn tuning=random tuning.trials=20", "twenty settings at random"),
        ("model=sasrec tuning.hours=2", "for two hours; the same command goes on later"),
        ("model=auto tuning.hours=2", "all models that suit a shop, within one budget"),
    ),
    "evaluate": (
        ("", "what was trained last of each model"),
        ("runs=[sasrec,item_knn]", "these two, by model or by folder"),
        ("rerank=[diverse]", "and each recommender with its lists in another order"),
    ),
    "export": (
        ("model=sasrec", "the run of it that was trained last"),
        ("run=best", "of each task the model that leads on validation"),
        ("model=sasrec placements=[home,cart] name=places", "that also answers at two places of the shop"),
    ),
    "recommend": (
        ("history=[sku-0001,sku-0042]", "by the recommender trained last"),
        ("run=sasrec history=[sku-0001] k=5", "five items, by that model"),
        ("run=sasrec history=[] basket=[sku-0042] placement=cart", "as the cart page would"),
    ),
    "score": (
        ("", "by the customer model trained last, as of the end of the log"),
        ("run=logistic at=2025-05-01", "as of that day"),
        ("run=logistic to=scores.csv", "for a spreadsheet"),
    ),
    "audience": (
        ("audience=win_back scores=logistic", "who has stayed away, most likely lost first"),
        ("audience=new_customer recommender=sasrec", "with items in the message"),
        ("audience=win_back at=2025-05-01 out=may", "as of that day, in that folder"),
    ),
    "uplift": (
        ("campaign=hillstrom", "a public campaign by e-mail"),
        ("campaign=hillstrom learners=[t,x]", "with two learners"),
        ("campaign=hillstrom folds=5", "judged in five folds"),
    ),
    "segments": (
        ("dataset=demo_shop", "as of the end of the log"),
        ("dataset=demo_shop at=2025-05-01", "as of that day"),
        ("dataset=demo_shop segmentation.clusters.most=5", "at most five groups of customers who are alike"),
    ),
}
TRAINS = ("dataset", "split", "task", "model", "features", "loss", "trainer", "experiment", "seed", "init_from",
          "timeline", "evaluation", "tracking", "audit", "prepared_folder", "engine", "progress", "paths")  # fmt: skip
# What a verb reads of conf/config.yaml.
SHARED: Mapping[str, Sequence[str]] = {
    "train": TRAINS,
    "tune": TRAINS,
    "prepare": (
        "dataset",
        "split",
        "task",
        "features",
        "timeline",
        "audit",
        "prepared_folder",
        "engine",
        "progress",
        "paths",
    ),
    "evaluate": ("dataset", "split", "task", "evaluation", "tracking", "paths"),
    "export": ("dataset", "split", "task", "model", "evaluation", "tracking", "paths"),
    "recommend": ("dataset", "split", "task", "model", "paths"),
    "score": ("dataset", "split", "task", "model", "paths"),
    "segments": ("dataset", "timeline", "prepared_folder", "engine", "progress", "paths"),
    "audience": ("dataset", "timeline", "evaluation", "prepared_folder", "engine", "progress", "paths"),
    "uplift": ("seed", "evaluation", "paths"),
}


def text(verb: str, does: str, words: Sequence[str] = ()) -> str:
    """What `--help` of a verb prints; of a model, task, … named beside it on the command line also the settings."""
    call, width = " ".join(program(verb)), columns()
    title = f"shopkeeper {verb}"
    parts = [textwrap.fill(f"{title}: {does}", width).replace(title, coloured(title, "bold"), 1)]
    shown = [(f"{call} {words}".rstrip(), said) for words, said in EXAMPLES[verb]]
    parts.append(_block("examples", [line for words, said in shown for line in (f"  {words}", f"      {said}")]))
    own = [one for one in settings_of(configuration.main_folder() / f"{verb}.yaml") if one.value != "{}"]
    if own:
        parts.append(_block("its own settings, as key=value", [line for one in own for line in _lines(one, width)]))
    chosen = [tuple(word.split("=")) for word in words if re.fullmatch(r"\w+=\w+", word)]
    for group, name in chosen:
        if (file := configuration.find(group, name)) is not None:
            own = [replace(one, name=f"{group}.{one.name}") for one in settings_of(file)]
            lines = [line for one in own for line in _lines(one, width)]
            parts.append(_block(f"of {group}={name}", lines))
    every = {one.name: one for one in settings_of(configuration.main_folder() / "config.yaml")}
    shared = [one for key in SHARED[verb] for name, one in every.items() if name.partition(".")[0] == key]
    parts.append(_block("shared with other verbs", [line for one in shared for line in _lines(one, width)]))
    parts.append(_block("all of it", [line for words, said in (
        (f"{call} model=sasrec --help", "with the settings of that model; of any group alike"),
        (f"{call} --cfg job", "every setting with its value; nothing is done"),
        (f"{call} --cfg job --package trainer", "one block of them"),
        (f"{call} --info", "which file each comes from"),
        (f"{call} -m seed=1,2,3", "the verb once for each value: a sweep"),
        ('eval "$(shopkeeper completion bash)"', "the tab key completes verbs, settings and their choices; also zsh"),
    ) for line in (f"  {words}", f"      {said}")]))  # fmt: skip
    return "\n\n".join(parts)


def settings_of(file: Path) -> list[Setting]:
    """The settings that a file has: choices of groups first; blocks stand there where something is said of them."""
    found = read(file)
    groups = [one for one in found.groups if one.name != "override"]
    return [*groups, *(one for one in found.settings if one.value or one.said)]


def _block(title: str, lines: Sequence[str]) -> str:
    return "\n".join([coloured(title, "bold"), *lines])


def _lines(one: Setting, width: int) -> Iterator[str]:
    """`key=value` and beside it, or below where that is long, what is said of it and what may be chosen."""
    head = f"  {one.name}={(one.value or '…').replace(', ', ',')}"
    said = one.said
    if "." not in one.name and "|" not in said and (names := configuration.names(one.name)):
        said = f"{said}{'; ' if said else ''}{', '.join(names)}"
    wrapped = textwrap.wrap(said, width - 30, break_on_hyphens=False)
    if len(head) > 28:
        yield head
    elif wrapped:
        yield f"{head:<30}{wrapped.pop(0)}"
    else:
        yield head
    yield from (f"{'':<30}{line}" for line in wrapped)
