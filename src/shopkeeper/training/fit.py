"""`train`: from a network and a split to the best weights. What a recommender's `fit` calls."""

from __future__ import annotations

import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping

from shopkeeper.errors import UserError
from shopkeeper.files import sha256_json
from shopkeeper.schema import event_codes
from shopkeeper.sequences.batches import TrainingView
from shopkeeper.sequences.prepared import Split
from shopkeeper.training import execution
from shopkeeper.training.checkpoint import Resumable, SafeCheckpointIO, newest_good
from shopkeeper.training.config import Plan, Recipe, TrainerConfig
from shopkeeper.training.module import SequenceModule
from shopkeeper.training.progress import Progress
from shopkeeper.training.validation import Validator

log = logging.getLogger(__name__)


@dataclass
class Trained:
    """What a training run ends with; the network holds the best weights."""

    plan: Plan
    history: list[dict[str, float]]  # one row per epoch: loss, seconds, events_per_s, ndcg@10, …
    best_epoch: int  # from 1; the last one where nothing was validated
    best_value: float  # validation NDCG@10, NaN where nothing was validated
    last_weights: dict[str, torch.Tensor]


def train(
    network: torch.nn.Module,
    split: Split,
    *,
    recipe: Recipe,
    config: TrainerConfig,
    seed: int,
    inputs: str,
    target_events: Sequence[str],
    max_length: int,
    filter_seen: bool,
    fallback_V: np.ndarray,
    with_types: bool,
    identity: Mapping[str, Any],
    folder: Path | None = None,
    progress: bool = True,
    on_epoch: Callable[[Mapping[str, float], int], None] = lambda metrics, epoch: None,
) -> Trained:
    """Train until validation NDCG@10 has not risen for `recipe.patience` validations; leave the best weights in place.

    With `folder`, checkpoints lie in `folder/checkpoint` and a killed run goes on from the newest good one. `identity`
    is what must agree for that: a checkpoint of another configuration is a `UserError`.
    """
    device = execution.device_of(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    view = TrainingView.build(split, target_events, inputs, max_length)
    plan = execution.choose(
        config,
        device=device,
        n_classes=len(view.catalogue),
        max_length=max_length,
        batch_size=recipe.batch_size,
        resident=True,
    )
    identity = _identity(identity, recipe, split, seed)
    checkpoint = _find_checkpoint(folder, config, identity)
    if checkpoint is not None:
        plan = Plan.of(SafeCheckpointIO().load_checkpoint(checkpoint)["plan"])
        log.info("going on from %s with the execution plan stored there", checkpoint)
    log.info("execution plan: %s", ", ".join(f"{k}={v}" for k, v in plan.to_json().items() if k != "edges"))
    codes = event_codes(list(target_events)) if inputs == "targets" else None
    validator = Validator.of(
        split,
        types=codes,
        with_types=with_types,
        max_length=max_length,
        filter_seen=filter_seen,
        fallback_V=fallback_V,
        edges=plan.edges,
        device=device,
        limit=0 if config.overfit_batches else config.validation_requests,
    )
    module = SequenceModule(
        network,
        view.to(device),
        validator,
        recipe,
        plan,
        seed,
        epoch_batches=config.max_batches,
        overfit_batches=config.overfit_batches,
        on_epoch=on_epoch,
    )
    module.extra_state = {"plan": plan.to_json(), "identity": identity}
    trainer = _trainer(module, config, device, folder, progress)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, ckpt_path=None if checkpoint is None else str(checkpoint))
    last = module.weights()
    if module.best["weights"] is not None:
        network.load_state_dict(module.best["weights"])
    network.to("cpu").eval()
    best = module.best["value"] if module.best["epoch"] >= 0 else math.nan
    return Trained(plan, module.history, module.best["epoch"] if best == best else len(module.history), best, last)


def _trainer(
    module: SequenceModule, config: TrainerConfig, device: torch.device, folder: Path | None, progress: bool
) -> pl.Trainer:
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    callbacks: list[Callback] = []
    if progress:
        callbacks.append(Progress())
    if module.validator is not None and module.recipe.patience:
        callbacks.append(
            EarlyStopping("ndcg@10", mode="max", patience=module.recipe.patience, check_on_train_epoch_end=True)
        )
    if folder is not None:
        callbacks.append(Resumable(folder / "checkpoint", config.checkpoint_epochs, config.checkpoint_minutes))
    return pl.Trainer(
        accelerator=device.type,
        devices=1 if device.type == "cpu" else [device.index or 0],
        max_epochs=config.max_epochs or module.recipe.epochs,
        callbacks=callbacks,
        plugins=[SafeCheckpointIO()],
        logger=False,
        enable_checkpointing=folder is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        deterministic=config.deterministic or None,
        profiler=config.profiler,
        default_root_dir=str(folder) if folder else tempfile.gettempdir(),
        use_distributed_sampler=False,
    )


def _identity(given: Mapping[str, Any], recipe: Recipe, split: Split, seed: int) -> dict[str, Any]:
    """What makes two runs the same run. The limit of epochs and the patience may change: a run can be prolonged."""
    fixed = {k: v for k, v in asdict(recipe).items() if k not in ("epochs", "patience")}
    if recipe.decay == "cosine":
        fixed["epochs"] = recipe.epochs
    train_end = sha256_json(np.asarray(split.train_end).tolist())
    return dict(given) | fixed | {"data": split.prepared.fingerprint, "train_end": train_end, "seed": seed}


def _find_checkpoint(folder: Path | None, config: TrainerConfig, identity: Mapping[str, Any]) -> Path | None:
    if folder is None or not config.resume:
        return None
    path = newest_good(folder / "checkpoint")
    if path is None:
        return None
    stored = SafeCheckpointIO().load_checkpoint(path)["identity"]
    differs = sorted(k for k in identity if stored.get(k) != identity[k])
    if differs:
        said = ", ".join(f"{k}: {stored.get(k)} there, {identity[k]} here" for k in differs)
        raise UserError(
            f"{path} belongs to another training ({said}); delete {path.parent}, choose another run folder, "
            f"or start over with trainer.resume=false"
        )
    return path
