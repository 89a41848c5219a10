"""Where a training that can be resumed keeps its state, and how a later command finds it again."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from shopkeeper.errors import UserError
from shopkeeper.files import atomic_folder, read_json, sha256_json, write_json
from shopkeeper.pipeline import context
from shopkeeper.pipeline.places import MAY_CHANGE
from shopkeeper.pipeline.told import Train

log = logging.getLogger(__name__)


def checkpoint_folder(cfg: Train, facts: Mapping[str, Any]) -> Path:
    """Where resumable state lies while training: keyed by what decides the weights, outside of any stage's output.

    A killed training is found again by the same command, also when that one is to train for longer or with less memory;
    DVC deletes a stage's outputs before it runs.
    """
    limits = {"model": ("epochs", "patience", "patience_steps"), "trainer": ("max_epochs", *MAY_CHANGE)}
    blocks: dict[str, Mapping[str, Any]] = {"model": cfg.model.plain, "trainer": cfg.trainer.plain}
    decides: dict[str, Any] = {
        group: {k: v for k, v in blocks[group].items() if k not in limits[group]} for group in limits
    }
    decides |= {"seed": cfg.seed, "init_from": None if cfg.init_from is None else str(cfg.init_from)}
    if (k := cfg.evaluation.k[0]) != 10:  # which epoch is the best
        decides["k"] = k
    if cfg.trial is not None:  # of a search: another one may have the same settings at the same time
        decides["trial"] = cfg.trial
    of_data = ("dataset_fingerprint", "split") + (("task", "windows", "features") if "windows" in facts else ())
    key = sha256_json(decides | {k: facts[k] for k in of_data})
    return cfg.paths.checkpoints / f"{cfg.model.name}-{key[:16]}"


def says_how_to_go_on(place: Path) -> Callable[..., bool]:
    """For an `ExitStack`: an interruption is told which checkpoint the same command goes on from."""

    def tell(kind: Any, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, KeyboardInterrupt) and (found := sorted(place.rglob("step-*"))):
            error.add_note(f"the same command goes on from {context.relative(found[-1])}")
        return False

    return tell


def _epochs(cfg: Train) -> int:
    return int(cfg.trainer.max_epochs or cfg.model.parameters.get("epochs") or 0)


def remember(place: Path, run: Path, cfg: Train) -> None:
    """Note beside the checkpoints which finished run took them, so that a longer one can go on from there."""
    if (run / "checkpoint").is_dir():
        write_json(place.with_suffix(".json"), {"run": str(run.resolve()), "epochs": _epochs(cfg)})


def is_note(path: Path) -> bool:
    """Whether a file is what `remember` wrote beside the checkpoints."""
    if re.fullmatch(r".+-[0-9a-f]{16}\.json", path.name) is None:
        return False
    try:
        found = read_json(path)
    except UserError:  # no JSON
        return False
    return isinstance(found, dict) and set(found) == {"run", "epochs"}


def recall(place: Path, cfg: Train) -> None:
    """Bring back the checkpoint of a finished run of the same training that was to end earlier."""
    note = place.with_suffix(".json")
    if place.is_dir() or not note.is_file() or not cfg.trainer.resume:
        return
    done = read_json(note)
    run = Path(done["run"])
    if _epochs(cfg) <= done["epochs"] or not (run / "manifest.json").is_file():
        return
    if read_json(run / "manifest.json").get("checkpoint") != place.name:
        log.info("%s holds another training by now: this one starts afresh", context.relative(run))
        return
    log.info("going on from %s epochs of %s", done["epochs"], context.relative(run))
    for step in sorted((run / "checkpoint").rglob("step-*")):
        with atomic_folder(place / step.relative_to(run / "checkpoint"), "checkpoint") as folder:
            shutil.copytree(step, folder, dirs_exist_ok=True)
