"""The progress bar: one bar for the whole training: loss, events/s, the best validation figure, the time left."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl

from shopkeeper.bars import bar
from shopkeeper.training.config import Recipe


def patience_of(recipe: Recipe, n_batches: int) -> int:
    """Validations without a better one that end a training: as many as are set, or as `patience_steps` take.

    More while they rise (`trainer.Patience`).
    """
    return max(recipe.patience, -(-recipe.patience_steps // (n_batches * recipe.validate_every)))


def ends_by(module: Any) -> int:
    """The epoch with which training ends unless validation gets better: the limit, or when patience is used up."""
    recipe, best = module.recipe, int(module.best["epoch"])
    if not recipe.patience or best < 0:
        return int(recipe.epochs)
    end = best + patience_of(recipe, module.n_batches) * recipe.validate_every
    begun = -(-module.step // module.n_batches)  # goes on beyond where validation rises
    return int(min(recipe.epochs, max(end, begun)))


class Progress(pl.Callback):
    """Counts epochs up to the one with which patience would end the training, or the limit."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.drawn = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Open the bar where a resumed run left off."""
        n = module.n_batches
        self.bar = bar(
            total=(trainer.max_epochs or 0) * n,
            initial=module.step,
            unit="batch",
            dynamic_ncols=True,
            leave=None,  # below a study's bar it goes when the trial ends
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
        )

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *args: Any) -> None:
        """Advance; the figures are read from the device at most twice a second."""
        self.bar.update()
        now = time.monotonic()
        if now - self.drawn > 0.5:
            self.drawn = now
            epoch, running = -(-module.step // module.n_batches), module.running()
            loss, rate = running["loss"] / running["labels"], running["positions"] / running["seconds"]
            figures = {"loss": f"{loss:.3f}", "events/s": f"{rate:,.0f}"}
            if module.best["epoch"] >= 0:
                best = module.best
                figures[f"best {module.objective.headline}"] = f"{best['value']:.4f} (epoch {best['epoch']})"
            self.bar.total = ends_by(module) * module.n_batches  # and with it the time that is left
            self.bar.set_description(f"epoch {epoch}/{trainer.max_epochs}", refresh=False)
            self.bar.set_postfix(figures, refresh=False)

    def on_train_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()

    def on_exception(self, trainer: pl.Trainer, module: Any, error: BaseException) -> None:
        """Close it, so that what is said of the error begins on a line of its own."""
        self.on_train_end(trainer, module)
