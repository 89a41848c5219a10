"""What a fit is given besides data, of a recommender and of a customer model alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from shopkeeper.training.config import TrainerConfig


@dataclass(frozen=True)
class HeldOut:
    """What models that had not seen some customers say of them, before any calibration, and what is true."""

    said: np.ndarray  # float64 (n,)
    label: np.ndarray  # float64 (n,)
    customer: np.ndarray  # int32 (n,)


@dataclass
class Fit:
    """What a training run is given besides data: seed, folder for resumable state, trainer settings, where to log."""

    seed: int = 0
    folder: Path | None = None  # for checkpoints, of a model that `resumes`; None: nothing is written meanwhile
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    target_events: tuple[str, ...] = ("purchase",)  # what the split counts as a target
    filter_seen: bool = False
    k: int = 10  # cut-off of the headline metric, which chooses the best epoch
    init_from: Path | None = None  # run folder to start from, for a model that `starts_warm`
    steps: int | None = None  # epochs or trees that validation has chosen: no more, no fewer, nothing is validated
    epochs: tuple[int, ...] = ()  # whose mean validation kept, up to `steps`; none: that epoch's weights as they were
    chosen: str = ""  # which of a model's candidates validation has chosen, where it chooses among several
    held_out: Callable[[], HeldOut] | None = None  # of a customer model: to calibrate on, beside a calibration cohort
    log: Callable[[Mapping[str, float], int], None] = lambda metrics, step: None  # after an epoch, or some trees
    progress: bool = True

    @property
    def limited(self) -> TrainerConfig:
        """The trainer, for the steps that validation has chosen where it has."""
        if not self.steps:
            return self.trainer
        return replace(self.trainer, max_epochs=self.steps, averaged=self.epochs or (self.steps,))
