"""Checkpoints without pickle: a folder with `state.safetensors` (tensors) and `state.json` (everything else).

A folder is written under a temporary name and renamed, and `state.json` holds the hash of the tensors: a checkpoint is
either whole or not there. `newest_good` walks back until it finds one that is.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import CheckpointIO
from safetensors.torch import load_file, save_file

from shopkeeper import stopping
from shopkeeper.errors import UserError
from shopkeeper.files import atomic_folder, read_json, remove_made, sha256_file
from shopkeeper.folders import made_here
from shopkeeper.hashing import check_seal, sealed

log = logging.getLogger(__name__)
STATE = "state.*"  # the files of a checkpoint
KEEP = 2  # the newest, and one to fall back to


class SafeCheckpointIO(CheckpointIO):
    """What Lightning writes and reads checkpoints through."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write atomically; tensors keep their bits."""
        tensors: dict[str, torch.Tensor] = {}
        tree = _encode(checkpoint, tensors)
        with atomic_folder(Path(path), "checkpoint") as folder:
            save_file(tensors, folder / "state.safetensors")
            digest = sha256_file(folder / "state.safetensors")
            text = json.dumps(sealed({"sha256": digest, "tree": tree}), allow_nan=True)
            (folder / "state.json").write_text(text, encoding="utf-8")

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read and verify; a `UserError` when the folder is damaged."""
        path = Path(path)
        state = read_json(path / "state.json")
        file = path / "state.safetensors"
        if not isinstance(state, dict) or "tree" not in state:
            raise UserError(f"{path / 'state.json'} is not a checkpoint of this program; delete the folder {path}")
        check_seal(state, path / "state.json", f"delete the folder {path}", needed=False)
        if not file.is_file() or sha256_file(file) != state.get("sha256"):
            raise UserError(f"{file} is damaged (its hash differs from state.json); delete the folder {path}")
        tensors = load_file(file)
        tree: dict[str, Any] = _decode(state["tree"], tensors)
        return tree

    def remove_checkpoint(self, path: Any) -> None:
        """Delete the folder."""
        remove_made(Path(path), STATE)


def newest_good(folder: Path) -> Path | None:
    """The newest checkpoint below `folder` that is whole, or None; damaged ones are named and skipped."""
    damaged = False
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            SafeCheckpointIO().load_checkpoint(path)
        except (UserError, OSError, ValueError, KeyError, TypeError) as e:
            damaged = True
            log.warning("checkpoint %s cannot be used (%s); looking for the one before", path, e)
            continue
        return path
    if damaged:
        log.warning("training starts afresh: no checkpoint in %s is whole", folder)
    return None


class Resumable(Checkpoint):
    """Saves at the end of an epoch, and within long epochs every few minutes; keeps the newest two.

    `afresh`: what an earlier training left in the folder is deleted once there is something of this one.
    """

    def __init__(self, folder: Path, every_epochs: int, every_minutes: float, afresh: bool = False):
        self.folder, self.every_epochs, self.every_seconds = folder, every_epochs, every_minutes * 60
        self.afresh = afresh
        self.saved = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *args: Any) -> None:
        """Save when the last checkpoint is old or a signal asks for the end; not on the last batch.

        After that one the epoch's end saves anyway.
        """
        old = time.monotonic() - self.saved > self.every_seconds
        if (old or stopping.noted()) and module.step % module.n_batches:
            self.save(trainer, module)
            stopping.due()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Save, after validation and early stopping have had their say."""
        due = (module.step // module.n_batches) % self.every_epochs == 0
        if due or trainer.should_stop or stopping.noted() or module.ended is not None:
            self.save(trainer, module)
        stopping.due()
        if module.ended is not None:
            raise module.ended

    def save(self, trainer: pl.Trainer, module: Any) -> None:
        """Write `step-<number>`, then delete what is older than the newest two."""
        if module.rank == 0:
            newest = self.folder / f"step-{module.step:010d}"
            if made_here(newest, "checkpoint") is None:  # damaged: it would be taken for somebody else's folder
                remove_made(newest, STATE)
            trainer.save_checkpoint(newest)
            others = sorted((p for p in self.folder.glob("step-*") if p != newest), reverse=True)
            for old in others if self.afresh else others[KEEP - 1 :]:
                remove_made(old, STATE)
            self.afresh = False
        self.saved = time.monotonic()


def _encode(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Plain JSON for anything but tensors, which move to `tensors`; tuples and keys that are no strings survive."""
    if isinstance(value, torch.Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"#tensor": name}
    if isinstance(value, dict):
        if all(isinstance(k, str) and not k.startswith("#") for k in value):
            return {k: _encode(v, tensors) for k, v in value.items()}
        return {"#items": [[_encode(k, tensors), _encode(v, tensors)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {"#tuple": [_encode(v, tensors) for v in value]}
    if isinstance(value, list):
        return [_encode(v, tensors) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, (Path, torch.device, torch.dtype)):
        return str(value)
    raise TypeError(f"a checkpoint cannot hold {type(value).__name__}: only tensors and plain values")


def _decode(tree: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(tree, dict):
        if "#tensor" in tree:
            return tensors[tree["#tensor"]]
        if "#items" in tree:
            return {_decode(k, tensors): _decode(v, tensors) for k, v in tree["#items"]}
        if "#tuple" in tree:
            return tuple(_decode(v, tensors) for v in tree["#tuple"])
        return {k: _decode(v, tensors) for k, v in tree.items()}
    if isinstance(tree, list):
        return [_decode(v, tensors) for v in tree]
    return tree
