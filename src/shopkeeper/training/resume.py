"""Which training a checkpoint belongs to, and whether one in the run folder can be gone on with."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shopkeeper.closure import differences
from shopkeeper.errors import UserError
from shopkeeper.training.checkpoint import SafeCheckpointIO, newest_good
from shopkeeper.training.config import Recipe, TrainerConfig

log = logging.getLogger(__name__)
# What could not be told at first: unsaid where it is as it was then.
LATER = {"smoothing": 0.0, "leave_out": "label"}
LATER_RECIPE = {"item_l2": 0.0, "average": "none", "average_decay": 0.999, "average_epochs": 5}


def identity_of(given: Mapping[str, Any], recipe: Recipe, config: TrainerConfig, seed: int) -> dict[str, Any]:
    """What makes two runs the same run. The limit of epochs and the patience may change: a run can be prolonged."""
    may_change = ("epochs", "patience", "patience_steps")
    fixed = {k: v for k, v in asdict(recipe).items() if k not in may_change and v != LATER_RECIPE.get(k)}
    fixed["loss"] = {k: v for k, v in fixed["loss"].items() if v != LATER.get(k)}
    if recipe.decay == "cosine":
        fixed["epochs"] = recipe.epochs
    fixed |= {k: v for k in ("max_batches", "overfit_batches") if (v := getattr(config, k))}
    if recipe.average == "best" and config.averaged:
        fixed["averaged"] = [*config.averaged]
    libraries = {"torch": str(torch.__version__), "numpy": np.__version__}
    return dict(given) | fixed | {"seed": seed, "libraries": libraries}


def find_checkpoint(
    folder: Path | None, config: TrainerConfig, identity: Mapping[str, Any], epochs: int
) -> Path | None:
    """The newest good checkpoint of this training in `folder`, or None: then it starts afresh.

    So it does, with a warning, where the code of model or training has changed since, or a library's version.

    A `UserError` where the checkpoint belongs to another training, with what differs and the way out, or is beyond
    the limit of `epochs`.
    """
    if folder is None or not config.resume:
        return None
    path = newest_good(folder / "checkpoint")
    if path is None:
        return None
    checkpoint = SafeCheckpointIO().load_checkpoint(path)
    stored, state = checkpoint["identity"], checkpoint["shopkeeper"]
    differs = sorted(k for k in identity.keys() | stored.keys() if stored.get(k) != identity.get(k))
    if "code" not in stored:  # of a version that noted neither
        differs = [k for k in differs if k not in ("asked", "filter_seen", "target_events")]
    if differs and set(differs) <= {"code", "libraries"}:
        log.warning("training starts afresh: %s was made by other code (%s)", path, _made_by(stored, identity))
        return None
    differs = [k for k in differs if k not in ("code", "libraries")]  # of the rest there is more to say
    if differs == ["epochs"] and identity.get("decay") == stored.get("decay"):
        log.warning(
            "training starts afresh: the cosine decay of %s was planned for %s epochs, now there are %s "
            "(with decay=constant it would go on)",
            path,
            stored["epochs"],
            identity["epochs"],
        )
        return None
    if differs:
        said = ", ".join(f"{k}: {stored.get(k, 'none')} there, {identity.get(k, 'none')} here" for k in differs)
        raise UserError(
            f"{path} belongs to another training ({said}); delete {path.parent}, choose another run folder, "
            f"or start over with trainer.resume=false"
        )
    done, within = len(state["history"]), state["running"]["positions"] > 0
    if done + within > epochs:
        said = f"is in epoch {done + 1}" if within else f"has {done} epochs done"
        raise UserError(
            f"{path} {said} and this training is to have only {epochs}: set trainer.max_epochs={done + within} or "
            f"more to go on, or start over with trainer.resume=false"
        )
    return path


def _made_by(stored: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    """Which source files and which libraries are others than those that wrote a checkpoint, in words."""
    if "code" not in stored:
        return "which it does not name"
    then, now = stored.get("libraries") or {}, identity.get("libraries") or {}
    said = [f"{k} {then.get(k)} then, {now.get(k)} now" for k in sorted({*then, *now}) if then.get(k) != now.get(k)]
    files = differences(stored["code"], identity.get("code") or {})
    return "; ".join([*([f"since then changed: {files}"] if files else []), *said])
