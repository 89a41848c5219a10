"""What a verb gives a model to fit with, whatever it is asked: seed, trainer, curve, and where a killed fit goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from shopkeeper.bars import watched
from shopkeeper.locks import alone
from shopkeeper.models.fit import Fit
from shopkeeper.pipeline.forms.checkpoints import checkpoint_folder, recall, says_how_to_go_on
from shopkeeper.pipeline.runs import remove_checkpoints
from shopkeeper.pipeline.told import Train

log = logging.getLogger(__name__)
TellEpoch = Callable[[Mapping[str, float], int], None]


class PausedError(Exception):
    """A search's trial waits until it is asked to go on: its checkpoints, in `folder`, stay."""

    folder: Path | None = None


def fit_of(
    cfg: Train, facts: Mapping[str, Any], model: Any, log_epoch: TellEpoch, held: ExitStack, **of_task: Any
) -> Fit:
    """What the config's model is fitted with; `of_task`: further fields of `Fit`.

    Until `held` is closed, the checkpoints of a model that resumes are this process' alone.
    """
    place = checkpoint_folder(cfg, facts)
    if model.about.resumes:
        held.enter_context(alone(place))
        held.push(says_how_to_go_on(place))
    recall(place, cfg)
    bar = cfg.progress and watched()
    return Fit(
        seed=cfg.seed,
        folder=place,
        trainer=cfg.trainer,
        init_from=cfg.init_from,
        log=log_epoch if bar else _and_say(log_epoch),
        progress=bar,
        **of_task,
    )


@contextmanager
def forgotten_if_it_fails(fit: Fit, parts: Sequence[str]) -> Iterator[None]:
    """Of a search's trial that fails or is pruned, checkpoints go: nobody goes on with it."""
    try:
        yield
    except PausedError as e:
        e.folder = fit.folder
        raise
    except Exception:
        if "test" not in parts and fit.folder is not None:
            remove_checkpoints(fit.folder)
        raise


def told_apart(tell: TellEpoch) -> TellEpoch:
    """Epochs of a training anew under names of their own: validation has followed the same steps before."""
    return lambda metrics, step: tell({f"anew/{name}": value for name, value in metrics.items()}, step)


def _and_say(log_epoch: TellEpoch) -> TellEpoch:
    def both(metrics: Mapping[str, float], step: int) -> None:
        log.info("epoch %s: %s", step, ", ".join(f"{k} {v:.4g}" for k, v in metrics.items()))
        log_epoch(metrics, step)

    return both
