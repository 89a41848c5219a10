"""Trains as test_resume.py does, in a process that can be killed: prints at each step and around each write."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from small_training import fit, shop  # noqa: E402

from shopkeeper.data.prepared import Prepared  # noqa: E402
from shopkeeper.data.split import Split  # noqa: E402
from shopkeeper.training import checkpoint  # noqa: E402
from shopkeeper.training.module import SequenceModule  # noqa: E402

data, run, epochs = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
trainer = {"checkpoint_minutes": 0.0, **json.loads(sys.argv[4] if len(sys.argv) > 4 else "{}")}
if not (data / "manifest.json").is_file() or not (data / "splits").is_dir():
    shop(data)
prepared = Prepared.open(data)
step, write = SequenceModule.training_step, checkpoint.save_file


def loud_step(self: SequenceModule, *args: object) -> None:
    print("step", self.step, flush=True)
    step(self, *args)


def loud_write(*args: object) -> None:
    print("writing", flush=True)
    write(*args)
    print("written", flush=True)


SequenceModule.training_step = loud_step
checkpoint.save_file = loud_write
model = fit(prepared, Split.named(prepared, "leave_one_out-tiny"), folder=run, epochs=epochs, trainer=trainer)
assert model.trained is not None
checkpoint.SafeCheckpointIO().save_checkpoint({"weights": model.trained.last_weights}, run / "last")
