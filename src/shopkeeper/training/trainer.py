"""Lightning's trainer as training uses it: its callbacks, its early stopping, and signals that stay the command's."""

from __future__ import annotations

import logging
import signal
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.profilers import Profiler, PyTorchProfiler

from shopkeeper import stopping
from shopkeeper.training.checkpoint import Resumable, SafeCheckpointIO
from shopkeeper.training.config import TrainerConfig
from shopkeeper.training.module import SequenceModule
from shopkeeper.training.progress import Progress, patience_of


def trainer_of(
    module: SequenceModule,
    config: TrainerConfig,
    device: torch.device,
    folder: Path | None,
    progress: bool,
    afresh: bool,
) -> pl.Trainer:
    """Lightning's trainer for a module: our checkpoints, our patience, nothing that it would do by itself."""
    for name in (
        "pytorch_lightning.utilities.rank_zero",
        "pytorch_lightning.trainer.connectors.checkpoint_connector",
        "pytorch_lightning.accelerators.cuda",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    callbacks: list[Callback] = [OwnSignals()]
    if progress:
        callbacks.append(Progress())
    if (headline := module.objective.headline) is not None and module.recipe.patience:
        mode = "min" if module.objective.lower_is_better else "max"
        patience = patience_of(module.recipe, module.n_batches)
        callbacks.append(Patience(headline, mode=mode, patience=patience, check_on_train_epoch_end=True))
    if folder is not None:
        place = folder / "checkpoint"
        callbacks.append(Resumable(place, config.checkpoint_epochs, config.checkpoint_minutes, afresh))
    profiler: Profiler | str | None = config.profiler
    if profiler == "pytorch":  # Lightning's usual 20 rows end before a small network's products; a trace went to /tmp
        profiler = PyTorchProfiler(row_limit=100, export_to_chrome=False)
    return pl.Trainer(
        accelerator=device.type,
        devices=1 if device.type == "cpu" else [device.index or 0],
        max_epochs=module.recipe.epochs,
        callbacks=callbacks,
        plugins=[SafeCheckpointIO(), LightningEnvironment()],  # a cluster's own would take its signals
        logger=False,
        enable_checkpointing=folder is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        deterministic=config.deterministic or None,
        profiler=profiler,
        default_root_dir=str(folder) if folder else tempfile.gettempdir(),
        use_distributed_sampler=False,
    )


def fit_with(trainer: pl.Trainer, module: SequenceModule, checkpoint: Path | None) -> None:
    """`trainer.fit`, from which Ctrl-C comes out as what it is: Lightning exits with 1 and ignores further ones.

    A signal waits for the end of the step, where `Resumable` saves and raises it.
    """
    heard = signal.getsignal(signal.SIGINT)
    try:
        with stopping.held_back(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(module, ckpt_path=None if checkpoint is None else str(checkpoint))
    except SystemExit as e:
        if not isinstance(e.__context__, KeyboardInterrupt):
            stopping.due()
            raise
        signal.signal(signal.SIGINT, heard)
        raise e.__context__ from None


class OwnSignals(Callback):
    """Lightning takes SIGTERM for itself just before it trains, and ends with exit code 0 for it: taken back."""

    def __init__(self) -> None:
        self.heard = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        """After Lightning has taken it."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.heard)


class Patience(EarlyStopping):
    """Early stopping that counts validations; its patience is the one that is set now, not the checkpoint's.

    It waits on while validation rises: an early epoch that was good by chance would else end a training that has only
    begun to learn.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what was counted."""
        super().load_state_dict(state_dict | {"patience": self.patience})

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        """A training that patience had ended when it was killed is at its end."""
        trainer.should_stop = self.wait_count >= self.patience and not module.rises

    def on_train_epoch_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Look at the epoch, if it was validated."""
        if self.monitor not in module.history[-1]:
            return
        stopped = trainer.should_stop
        super().on_train_epoch_end(trainer, module)
        if module.rises:
            trainer.should_stop = stopped
