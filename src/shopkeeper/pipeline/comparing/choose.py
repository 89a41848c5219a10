"""Which runs are compared, and which is exported: of each task the one that leads on validation, and how sure that is.

Test is not looked at.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shopkeeper.errors import UserError
from shopkeeper.evaluation.settings import Evaluation
from shopkeeper.pipeline import context, places
from shopkeeper.pipeline.comparing.commands import train_also
from shopkeeper.pipeline.runs import RunFolder, distinct_names, open_run
from shopkeeper.pipeline.told import Evaluate, Export
from shopkeeper.tasks.find import find_task

log = logging.getLogger(__name__)
PART = "validation"


@dataclass(frozen=True)
class Chosen:
    """The run that leads, and why."""

    run: RunFolder
    facts: dict[str, Any]  # for the manifest of the bundle
    said: str


def meant(cfg: Evaluate, named: Sequence[str]) -> list[Path]:
    """Folders of the runs that are told, else of what was trained last of each model; a `UserError` where none is."""
    root = cfg.paths.runs
    if cfg.runs:
        narrowed = places.narrowed(cfg.plain)
        return [places.find(run, root, narrowed) for run in cfg.runs]
    of = places.told(cfg.plain, ("dataset", "split"))
    found = places.to_compare(root, of)
    if not found:
        words = "dvc repro"  # the stage is about all tasks of the pipeline and has none of its own
        if cfg.task is not None:
            table = cfg.dataset.table
            other = table is not None and cfg.task.name not in table.labels  # it has labels of its own
            task = find_task({"name": next(iter(table.labels))} if table and other else cfg.task.plain, named)
            words = shlex.join(train_also(cfg, task.name, task.baseline))
        about = "".join(f" {key}={value}" for key, value in of.items())
        raise UserError(
            f"there is no finished run{f' of{about}' if about else ''} below {root}; `{words}` makes one, or name "
            f"some: runs=[…]"
        )
    names = ", ".join(run.path.name for run in found)
    log.info("runs of dataset=%s split=%s: %s", found[0].dataset, found[0].split, names)
    return [run.path for run in found]


def leaders(cfg: Export, named: Sequence[str] = ()) -> list[Chosen]:
    """The run to export of each task, among those that are told, else what was trained last of each model.

    Where the command line says `task=…`, of that task alone. A `UserError` where there is none.
    """
    root, only = cfg.paths.runs, cfg.task.name if cfg.task is not None and "task" in context.typed() else None
    of = ({} if only is None else {"task": only}) | places.told(cfg.plain, ("dataset", "split"))
    by_task: dict[str, list[RunFolder]] = {}
    if cfg.runs:
        narrowed = places.narrowed(cfg.plain)
        meant = [places.find(run, root, narrowed) for run in cfg.runs]
    else:
        meant = [run.path for run in places.to_compare(root, of)]
    for run in (open_run(path, named) for path in meant):
        if only in (None, run.task):
            by_task.setdefault(run.task, []).append(run)
    found = [leader(runs, cfg.evaluation) for _, runs in sorted(by_task.items())]
    chosen = [one for one in found if one is not None]
    if not chosen:
        about = "".join(f" {key}={value}" for key, value in of.items())
        raise UserError(
            f"no finished run{f' of{about}' if about else ''} below {root} can be exported; train one, e.g. "
            f"`shopkeeper train model=…`"
        )
    return chosen


def leader(runs: Sequence[RunFolder], options: Evaluation) -> Chosen | None:
    """Of the runs of one task, the one with the best headline on validation that can be exported; None: none can."""
    from shopkeeper.evaluation.aggregates import compare

    task, headline, lower = runs[0].task, headline_of(runs[0]), lower_is_better(runs[0])
    named = dict(zip(distinct_names(runs), runs, strict=True))
    order = [name for name in ranked(named) if not _left_out(name, named[name])]
    if not order:
        log.warning("%s: none of %s can be exported", task, ", ".join(named))
        return None
    best, value = order[0], value_of(named[order[0]])
    facts: dict[str, Any] = {"part": PART, "metric": headline, "value": value, "of": len(order)}
    start = f"{task}: {best} is exported"
    if len(order) == 1:
        return Chosen(named[best], facts, f"{start}, the only one that can be; {PART} {headline} {value:.4f}")
    tables = {name: named[name].table(PART) for name in order}
    comparisons = compare(tables, [headline], confidence=options.confidence,
                          resamples=options.resamples, smallest_effect=options.smallest_effect)  # fmt: skip
    second = order[1]
    of_both = next(c.as_dict() for c in comparisons if {c.a, c.b} == {best, second})
    facts |= {"next": second, "next_value": value_of(named[second]), "p_adjusted": of_both["p_adjusted"],
              "certain": of_both["winner"] == best, "statement": of_both["statement"]}  # fmt: skip
    sure = "" if facts["certain"] else "; the lead is within the noise"
    said = (
        f"{start}: of {len(order)} models it has the {'lowest' if lower else 'highest'} {headline} on {PART}, "
        f"{value:.4f}, and {second} {facts['next_value']:.4f} ({facts['statement']}){sure}"
    )
    return Chosen(named[best], facts, said)


def ranked(runs: Mapping[str, RunFolder]) -> list[str]:
    """Names of runs by their headline on validation, the best first; those without one are said and left out."""
    with_value = {name: value_of(run) for name, run in runs.items()}
    for name in (name for name, value in with_value.items() if value is None):
        log.warning("%s has no %s on %s, so it cannot lead", name, headline_of(runs[name]), PART)
    values = {name: value for name, value in with_value.items() if value is not None}
    if not values:
        return []
    sign = 1 if lower_is_better(next(iter(runs.values()))) else -1
    return sorted(values, key=lambda name: sign * values[name])


def ahead(runs: Mapping[str, RunFolder]) -> str | None:
    """The name of the run that leads on validation; None where no run has its headline there."""
    values = {name: value for name, run in runs.items() if (value := value_of(run)) is not None}
    if not values:
        return None
    best = min if lower_is_better(next(iter(runs.values()))) else max
    return best(values, key=lambda name: float(values[name]))


def headline_of(run: RunFolder) -> str:
    """The metric by which models of the run's task are put in order."""
    return str(run.config["task"]["headline"])


def lower_is_better(run: RunFolder) -> bool:
    """Whether the best value of the headline is the lowest."""
    return bool(run.config["task"].get("direction") == "minimize")


def value_of(run: RunFolder) -> Any:
    """The headline on validation; None where there is none."""
    return (run.metrics.get(PART) or {}).get(headline_of(run), {}).get("value")


def _left_out(name: str, run: RunFolder) -> bool:
    """Whether no bundle can be made of a run, which is said."""
    from shopkeeper.bundles.write.bundle import program_of

    try:
        program_of(run.model(), context.prepared_of(run.manifest).events.timestamp is not None)
    except UserError as e:
        log.info("%s is no candidate: %s", name, e)
        return True
    return False
