"""Where runs lie, `runs/<dataset>/<task>/<split>/<model>-<id>`, and which of them is meant.

The id says the settings: the same command finds its folder again, other settings get one of their own. `name=…` stands
in place of both, as it does for `dvc repro`, whose stages need names that stay when a setting changes.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from shopkeeper.errors import UserError, nearest
from shopkeeper.files import read_json, sha256_json
from shopkeeper.folders import MANIFEST
from shopkeeper.hashing import check_seal
from shopkeeper.pipeline import context
from shopkeeper.pipeline.runs import open_run
from shopkeeper.pipeline.shell.terminal import program
from shopkeeper.pipeline.told import Train
from shopkeeper.shapes import Yaml
from shopkeeper.tasks.find import find_task

log = logging.getLogger(__name__)
GROUPS = ("dataset", "task", "split", "model")
# What a training is told and no answer of its model depends on.
ASIDE = ("paths", "tracking", "progress", "engine", "audit", "name", "overwrite", "tuning", "trial")
# Of the trainer: what a training may change when it goes on; its execution plan changes no more than rounding.
MAY_CHANGE = (
    "name",
    "resume",
    "checkpoint_epochs",
    "checkpoint_minutes",
    "memory_gib",
    "micro_batch",
    "resident",
    "profiler",
)


def run_folder(cfg: Train) -> Path:
    """Where `train` leaves a run; a `UserError` for a name that names no folder there."""
    name = cfg.name if cfg.name is not None else f"{cfg.model.name}-{run_id(cfg.plain)}"
    if not re.fullmatch(r"\w[\w.+-]*", str(name)):
        raise UserError(f"name='{name}' names no folder below paths.runs; give a plain name such as name=sasrec-wide")
    return cfg.paths.runs.joinpath(cfg.dataset.name, cfg.task.name, cfg.split.name, str(name))


def run_id(config: Yaml) -> str:
    """Eight hexadecimal digits of what decides a run."""
    return sha256_json(deciding(config))[:8]


def deciding(config: Yaml) -> dict[str, Any]:
    """The settings without those that say where things lie, how they are shown, or how they are computed.

    Nor is it decided by who was erased: a run that knew them is replaced by the one that is trained without them.
    """
    kept = {key: value for key, value in config.items() if key not in ASIDE}
    if isinstance(dataset := kept.get("dataset"), Mapping):
        kept["dataset"] = {key: value for key, value in dataset.items() if key != "erasure"}
    trainer = kept.get("trainer")
    if isinstance(trainer, Mapping):
        kept["trainer"] = {key: value for key, value in trainer.items() if key not in (*MAY_CHANGE, "plan")}
    return kept


@dataclass(frozen=True)
class Listed:
    """A finished run as its manifest and figures name it; not opened, its files are not checked."""

    path: Path
    dataset: str
    task: str
    split: str
    model: str
    seed: int
    trained_at: float  # seconds since 1970
    metrics: Yaml

    @property
    def place(self) -> tuple[str, str, str]:
        """Dataset, task and split: only runs of one place can be compared."""
        return self.dataset, self.task, self.split


def listed(root: Path, of: Mapping[str, str] | None = None, strict: bool = False) -> list[Listed]:
    """The finished runs below a folder, in the order in which they were trained.

    `of`: dataset, task, split or model that they must be of. What cannot be read is said and left out, or, where that
    is `strict`, a `UserError`.
    """
    found = []
    for path in _manifests(root):
        try:
            said = read_json(path)
            if isinstance(said, dict):  # a run that calls itself something else would be missing without a word
                check_seal(said, path, "train again", needed=False)
            if not isinstance(said, dict) or said.get("kind") != "run":
                continue
            try:
                figures = read_json(path.parent / "metrics.json")
            except UserError:
                if strict:
                    open_run(path.parent)  # says what to do where its files have changed or are gone
                raise
            about = {key: str(figures[key]) for key in GROUPS}
            run = Listed(path.parent, **about, seed=int(figures["seed"]), trained_at=_when(said, path), metrics=figures)
        except UserError as e:
            if strict:
                raise
            log.warning("left aside: %s", e)
            continue
        except (KeyError, TypeError, ValueError):
            file = path.parent / "metrics.json"
            if strict:
                open_run(path.parent)
                raise UserError(f"{file} names no dataset, task, split, model and seed; train again") from None
            log.warning("left aside: %s names no dataset, task, split, model and seed", file)
            continue
        if all(about[key] == value for key, value in (of or {}).items()):
            found.append(run)
    return sorted(found, key=lambda run: (run.trained_at, str(run.path)))


def _manifests(root: Path) -> Iterable[Path]:
    for place, folders, files in os.walk(root, followlinks=True):
        folders[:] = [] if MANIFEST in files else sorted(name for name in folders if not name.startswith("."))
        if MANIFEST in files:
            yield Path(place, MANIFEST)


def _when(manifest: Yaml, path: Path) -> float:
    """When a run was trained: as it says, or, of a run from before it did, as the file system says."""
    from datetime import datetime

    said = manifest.get("trained_at")
    return path.stat().st_mtime if said is None else datetime.fromisoformat(str(said)).timestamp()


def trained_last(runs: Sequence[Listed]) -> list[Listed]:
    """Of each task and model of some runs the one trained last, with those that differ from it in their seed alone."""
    kept: list[Listed] = []
    for one in dict.fromkeys((run.task, run.model) for run in runs):
        newest_first = [run for run in reversed(runs) if (run.task, run.model) == one]
        of_seed = {newest_first[0].seed: newest_first[0]}
        if any(run.seed != newest_first[0].seed for run in newest_first):
            same = _but_seed(newest_first[0])
            for run in newest_first:
                if run.seed not in of_seed and _but_seed(run) == same:
                    of_seed[run.seed] = run
        kept += of_seed.values()
    return sorted(kept, key=lambda run: (run.task, run.model, run.seed))


def _config(run: Listed) -> Any:
    return yaml.safe_load((run.path / "config.yaml").read_text(encoding="utf-8"))


def asked_of(run: Listed) -> str:
    """What a run's task is asked of, as `tasks.base` names it; "" of a task that nobody here names, which is said."""
    config = _config(run)
    told = config.get("task") if isinstance(config, dict) else None
    settings = {**(told if isinstance(told, Mapping) else {}), "name": run.task}  # a task of one's own has a target
    try:
        return find_task(settings, context.named_targets()).asks
    except UserError as e:
        log.warning("left aside: %s: %s", context.relative(run.path), e)
        return ""


def _but_seed(run: Listed) -> str:
    config = _config(run)
    return sha256_json({k: v for k, v in deciding(config).items() if k != "seed"}) if isinstance(config, dict) else ""


def to_compare(root: Path, of: Mapping[str, str]) -> list[Listed]:
    """Of one dataset and split what was trained last of each model; of which, `of` says, or the run trained last.

    Runs that were asked other questions than the last one of their task (another window, `split.targets`) cannot stand
    beside it: they are left out and named.
    """
    found = listed(root, of)
    one = (found[-1].dataset, found[-1].split) if found else (of.get("dataset"), of.get("split"))
    for folder in sorted((root / str(one[0])).glob(f"*/{one[1]}")):
        listed(folder, strict=True)  # a damaged one is not left out of a comparison with no more than a word
    found = [run for run in found if (run.dataset, run.split) == one]
    return trained_last([run for some in _by_task(found) for run in _asked_alike(some)])


def _by_task(runs: Sequence[Listed]) -> list[list[Listed]]:
    return [[run for run in runs if run.task == task] for task in dict.fromkeys(run.task for run in runs)]


def _asked_alike(runs: list[Listed]) -> list[Listed]:
    """The runs of one task that were asked what the last of them was; models of which none was are named."""
    asked = runs[-1].metrics.get("target_hash")
    alike = [run for run in runs if run.metrics.get("target_hash") == asked]
    there = {run.model for run in alike}
    if lost := [run for run in trained_last(runs) if run.model not in there]:
        log.warning(
            "%s: left out, as it was asked other questions than %s, which was trained last: %s; train anew with the "
            "settings of that one, or name those to compare, runs=[…]",
            runs[-1].task,
            runs[-1].path.name,
            ", ".join(run.path.name for run in lost),
        )
    return alike


def told(config: Yaml, groups: Sequence[str] = GROUPS) -> dict[str, str]:
    """What the command line says of which run is meant: its groups by name. All of them where there is none."""
    typed = {key.partition(".")[0] for key in context.typed()}
    every = not context.by_hand() or "experiment" in typed
    return {g: str(config[g]["name"]) for g in groups if (every or g in typed) and isinstance(config.get(g), Mapping)}


def narrowed(config: Yaml) -> dict[str, str]:
    """Which runs a name may mean: those of the groups that were typed beside it. Any where nobody types."""
    return told(config) if context.by_hand() else {}


def meant(word: Path | str | None, root: Path, config: Yaml, fits: Callable[[Listed], bool] | None = None) -> Path:
    """The folder of `run=…`, or of the run trained last that fits; either of the groups that are typed beside it."""
    if word:
        return find(word, root, narrowed(config))
    return latest(root, told(config)) if fits is None else latest(root, told(config), fits)


def latest(root: Path, of: Mapping[str, str], fits: Callable[[Listed], bool] = lambda run: True) -> Path:
    """The folder of the run trained last; a `UserError` where there is none."""
    found = [run for run in listed(root, of) if fits(run)]
    if not found:
        about = _words(of)
        there = ", ".join(sorted({run.task for run in listed(root, of)}))
        which = f" that this verb reads (those of {there} are none)" if there else ""
        example = f"{about} model=…".strip() if there or not about else about
        raise UserError(
            f"there is no finished run{f' of {about}' if about else ''} below {root}{which}; "
            f"`{' '.join(program('train'))} {example}` makes one, `shopkeeper runs` lists those there are"
        )
    log.info("run: %s, the one trained last", context.relative(found[-1].path))
    return found[-1].path


def find(word: Path | str, root: Path, of: Mapping[str, str] | None = None) -> Path:
    """The run folder that is meant: a path, or in short a model (the run trained last) or a folder's name.

    A name may be cut short, and stand behind its dataset, task or split: `demo_shop/temporal/sasrec`. A `UserError`
    where nothing or more than one fits; `of` as of `listed`.
    """
    path = Path(word)
    if path.exists() or path.is_absolute():
        return path
    *where, last = path.parts or ("",)
    there = listed(root, of)
    found = [run for run in there if set(where) <= set(run.place)]
    some = [run for run in found if run.path.name == last != run.model] or [run for run in found if run.model == last]
    some = some or [run for run in found if run.path.name.startswith(last)]
    if not some:
        names = [name for run in there for name in (run.model, run.path.name)]
        about = f" of {_words(of)}" if of else ""
        raise UserError(
            f"there is no run folder {path} and no run of that name{about} below {root}; `shopkeeper runs` lists them."
            f"{nearest(last, names)}"
        )
    if len({run.place for run in some}) > 1 or (some[0].model != last and len(some) > 1):
        which = ", ".join("/".join((*run.place, run.path.name)) for run in some[:4])
        others = " or others" if len(some) > 4 else ""
        raise UserError(f"{word} may be {which}{others}; say more of the name{_beside(some)}")
    log.info("run: %s", context.relative(some[-1].path))
    return some[-1].path


def _words(of: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in of.items())


def _beside(some: Sequence[Listed]) -> str:
    """What tells runs apart that may be typed beside a name: `task=orders`; "" where nothing does."""
    for n, key in enumerate(("dataset", "task", "split")):
        if len({run.place[n] for run in some}) > 1:
            return f", or {key}={some[0].place[n]} beside it"
    return ""
