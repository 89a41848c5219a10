"""Commands that pages and messages print: typed as printed, they are about the same data, runs and folder."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from shopkeeper import configuration
from shopkeeper.models.about import PROBABILITIES
from shopkeeper.pipeline.forms.form import FIRST
from shopkeeper.pipeline.shell.terminal import program
from shopkeeper.pipeline.told import Evaluate, Paths, Prepare, Score
from shopkeeper.tasks.base import REQUESTS, Task
from shopkeeper.timeline import iso

OF_PLACES = ("paths", "prepared_folder")
OF_THE_DATA = ("dataset", "paths", "prepared_folder", "timeline")  # settings that say which data is meant


def evaluate_again(cfg: Evaluate) -> list[str]:
    """The words of the command that makes this report anew: what was typed, and what the report is about."""
    typed = _typed("evaluate")
    about = {"dataset": cfg.dataset.name, "split": cfg.split.name, "out": cfg.out}
    about["runs"] = f"[{','.join(map(str, cfg.runs))}]" if cfg.runs else None
    keys = {word.lstrip("+~").partition("=")[0] for word in typed}
    added = [f"{k}={v}" for k, v in about.items() if v and k not in keys and _is_known(k, str(v))]
    return [*program("evaluate"), *added, *typed]


def about_the_same(cfg: Evaluate, verb: str) -> list[str]:
    """The first words of another verb's command about a report's data: what was typed of these is typed again."""
    kept = _typed_again("evaluate", OF_THE_DATA)
    keys = {word.lstrip("+~").partition("=")[0] for word in kept}
    name = cfg.dataset.name
    own = [f"dataset={name}"] if "dataset" not in keys and _is_known("dataset", name) else []
    return [*program(verb), *own, *kept]


def export_best(cfg: Evaluate, dataset: str, split: str) -> list[str]:
    """The words that export the best of the runs of a report, wherever others were trained since."""
    about = {"dataset": dataset, "split": split}
    which = [f"{k}={v}" for k, v in about.items() if _is_known(k, v)]
    which += [f"runs=[{','.join(map(str, cfg.runs))}]"] if cfg.runs else []
    return [*program("export"), "run=best", *which, *_typed_again("evaluate", ("paths",))]


def evaluate_next() -> list[str]:
    """The words that compare what a training left with what was trained before it."""
    return [*program("evaluate"), *_typed_again("train", ("paths",))]


def train_next(cfg: Prepare, task: Task, n_items: int) -> list[str]:
    """The words that train a first model on what was prepared: of a table of customers for its first label.

    Where all is of one item, as in a list of customers and amounts, nothing can be recommended: a model of customers is
    proposed, with the task that it brings.
    """
    typed = _typed_again("prepare", (*OF_THE_DATA, "split", "task", "engine"))
    keys = {word.lstrip("+~").partition("=")[0] for word in typed}
    own = [] if "dataset" in keys else [f"dataset={cfg.dataset.name}"]
    labels = [] if cfg.dataset.table is None else list(cfg.dataset.table.labels)
    own += [f"task={labels[0]}"] if labels and "task" not in keys else []
    lists = task.asks == REQUESTS and not labels and ("task" in keys or n_items > 1)  # other models bring their task
    model = "item_knn" if lists else FIRST[PROBABILITIES if task.truth is None else task.truth.answers]
    return [*program("train"), *own, f"model={model}", *typed]


def train_tuned(best: Path, model: str) -> str:
    """The line for a shell that keeps a search's result and trains it."""
    kept = Path("conf/experiment/tuned")
    train = shlex.join([*program("train"), f"experiment=tuned/{model}", *_typed_again("tune", OF_PLACES)])
    return f"mkdir -p {kept} && cp {shlex.quote(str(best))} {kept}/{model}.yaml && {train}"


def list_next(cfg: Score, dataset: str, scores: Path, at: int | None, consent: bool) -> list[str]:
    """The words that write down whom to write to by scores of who leaves.

    `at`: the instant of the scores (µs), where that was told; `consent`: whether the data say who agreed.
    """
    own = [f"dataset={dataset}"] if _is_known("dataset", dataset) else []
    own += [] if at is None else [f"at={iso(at)[:19]}"]
    agreed = [] if consent else ["audience.needs_consent=false"]
    kept = _typed_again("score", ("paths",))
    return [*program("audience"), *own, "audience=at_risk", f"scores={scores}", "~audience.blocks.for_you", *agreed,
            *kept]  # fmt: skip


def train_also(cfg: Evaluate, task: str, model: str, split: str | None = None) -> list[str]:
    """The words that train a model for a task on a report's data, where its next report finds the run."""
    dataset, split = cfg.dataset.name, split or cfg.split.name
    about = {"dataset": dataset, "split": split, "model": model, "task": task}
    if cfg.paths.runs != Paths.runs:
        about["paths.runs"] = str(cfg.paths.runs)
    return [*program("train"), *(f"{k}={v}" for k, v in about.items() if v)]


def _is_known(key: str, value: str) -> bool:
    """Whether a choice of a group is one that can be typed here."""
    return key not in ("dataset", "split") or configuration.find(key, value) is not None


def _typed_again(verb: str, groups: Sequence[str]) -> list[str]:
    """What was typed of some groups, and where else configuration lies, for another verb's command."""
    typed = _typed(verb)
    kept = [w for w in typed if w.lstrip("+~").partition("=")[0].partition(".")[0] in groups]
    stage = "--config-name" in typed  # whose folder of configs holds nothing for other verbs
    if "--config-dir" in typed[:-1] and not stage:
        kept += typed[(at := typed.index("--config-dir")) : at + 2]
    return kept


def _typed(verb: str) -> list[str]:
    """The words of the command line, where this is such a command; without the folder that every command adds."""
    if Path(sys.argv[0]).name != f"{verb}.py":
        return []
    words = list(sys.argv[1:])
    added = configuration.added_folder()
    if added is not None and words[-2:] == ["--config-dir", str(added)]:
        words = words[:-2]
    return words
