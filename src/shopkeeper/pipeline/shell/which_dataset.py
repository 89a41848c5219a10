"""Which dataset a command is about that names none: that of the runs it names, else of the run trained last."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from shopkeeper.errors import UserError
from shopkeeper.pipeline import context, places
from shopkeeper.pipeline.runs import open_run
from shopkeeper.pipeline.shell.terminal import program
from shopkeeper.pipeline.stages.compose import composed

log = logging.getLogger(__name__)
SAYS = ("dataset", "experiment", "prepared_folder")  # what decides the data, where somebody types it
NAMING = ("scores", "waits", "recommender")  # settings that name runs


def with_dataset(config: DictConfig, verb: str) -> DictConfig:
    """The configuration of a typed command, of the dataset that is meant where none was typed.

    Without it the usual one, the simulated shop, would be prepared, whatever was worked on before. A stage's own file
    and a call from within Python are taken as they are.

    Raises:
        UserError: nothing was trained, or runs of several datasets have the name that was given.
    """
    if not context.by_hand() or {key.partition(".")[0] for key in context.typed()} & set(SAYS):
        return config
    from hydra.core.hydra_config import HydraConfig

    called = HydraConfig.get()
    if called.job.config_name != verb:
        return config
    root = Path(str(config.paths.runs))
    named = [word for key in NAMING if (word := config.get(key)) and not Path(str(word)).is_file()]
    name = _dataset_of(places.find(str(named[0]), root)) if named else _trained_last(root, verb)
    log.info("dataset=%s, as %s", name, f"{named[0]} is of it" if named else "of the run trained last")
    return composed(verb, [*map(str, called.overrides.task), f"dataset={name}"])


def _dataset_of(folder: Path) -> Any:
    return open_run(folder, context.named_targets()).metrics["dataset"]


def _trained_last(root: Path, verb: str) -> str:
    found = places.listed(root)
    if not found:
        raise UserError(
            f"nothing says which dataset is meant: there is no finished run below {root}; say it, "
            f"`{' '.join(program(verb))} dataset=…`"
        )
    return found[-1].dataset
