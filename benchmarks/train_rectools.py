"""How fast HSTU and BERT4Rec train here, and in RecTools 0.19, on ml_1m: a part of an epoch, batch by batch.

    python benchmarks/train_rectools.py                     # both, alternating; RecTools in .venv-rectools
    python benchmarks/train_rectools.py --only hstu --batches 10 --repeat 1

Both sides have the same sequences of up to 200 events, width 64, two blocks, dropout 0.1, batches of 128 customers in
random order, full softmax and two threads, that wait passively. HSTU has one head and its bias by distance (the log has
an order and no times); BERT4Rec has two heads and hides .15 of the items. A run takes `--batches` of the 48 of an
epoch; the first, which makes kernels and fills caches, is left out. Writes `benchmarks/results/train_rectools.json`.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from _results import at_least, not_had, of_before, row, write_result
from _training import LENGTH, THREADS, child, environment, prepare

DATASET, REQUIRED, OF_EPOCH = "ml_1m", 8, 48
SHAPE: dict[str, Any] = {"width": 64, "blocks": 2, "dropout": 0.1, "max_length": LENGTH[DATASET]}
OURS: dict[str, dict[str, Any]] = {"hstu": {"heads": 1}, "bert4rec": {"heads": 2, "masked": 0.15, "masked_last": 0.0}}
THEIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "hstu": ("HSTUModel", {"n_heads": 1, "relative_time_attention": False, "relative_pos_attention": True}),
    "bert4rec": ("BERT4RecModel", {"n_heads": 2, "mask_prob": 0.15}),
}


def now() -> tuple[float, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), used.ru_utime + used.ru_stime


def between(at: list[tuple[float, float]]) -> dict[str, list[float]]:
    """Of each batch but the first, what began at these times: seconds, and processor time."""
    gone = np.diff(np.array(at)[1:], axis=0)
    return {"seconds": gone[:, 0].tolist(), "cpu_seconds": gone[:, 1].tolist()}


def ours(name: str, split_path: Path, batches: int) -> dict[str, Any]:
    from shopkeeper.data.prepared import Prepared
    from shopkeeper.data.split import Split
    from shopkeeper.models.fit import Fit
    from shopkeeper.models.make import make
    from shopkeeper.pipeline.stages.compose import composed
    from shopkeeper.pipeline.told import plain
    from shopkeeper.training.config import TrainerConfig
    from shopkeeper.training.module import SequenceModule

    at: list[tuple[float, float]] = []
    step, end = SequenceModule.training_step, SequenceModule.on_train_epoch_end

    def timed(self: Any, *args: Any) -> None:
        at.append(now())
        step(self, *args)

    def ended(self: Any) -> None:
        at.append(now())
        end(self)

    SequenceModule.training_step, SequenceModule.on_train_epoch_end = timed, ended  # type: ignore[method-assign,assignment]
    prepared = Prepared.open(split_path.parents[1])
    split = Split.named(prepared, split_path.name)
    told = SHAPE | OURS[name] | {"inputs": "targets", "epochs": 1, "batch_size": 128}
    words = [f"model.{key}={value}" for key, value in told.items()]
    model = make(plain(composed("train", [f"dataset={DATASET}", f"model={name}", "tracking=none", *words]))["model"])
    trainer = TrainerConfig(accelerator="cpu", threads=THREADS, validation_requests=0, max_batches=batches)
    target = tuple(split.timeline["spec"]["target_events"])
    model.fit(prepared, split, Fit(seed=1, target_events=target, trainer=trainer, progress=False))
    return between(at)


def theirs(name: str, file: Path, batches: int) -> dict[str, Any]:
    """The same in RecTools; runs in its own environment."""
    import pandas as pd
    import torch
    from pytorch_lightning import Callback, Trainer
    from rectools import Columns, models
    from rectools.dataset import Dataset

    warnings.filterwarnings("ignore")
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    with np.load(file, allow_pickle=False) as data:
        user = np.repeat(np.arange(len(data["offsets"]) - 1), np.diff(data["offsets"]))
        when = pd.to_datetime(np.arange(len(user)), unit="s")  # an order alone
        log = {Columns.User: user, Columns.Item: data["item"], Columns.Weight: 1, Columns.Datetime: when}
    at: list[tuple[float, float]] = []

    class Clock(Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            at.append(now())

        def on_train_end(self, *_: Any) -> None:
            at.append(now())

        def __deepcopy__(self, memo: Any) -> Any:  # RecTools copies the trainer and its callbacks
            return self

    def trainer() -> Any:
        return Trainer(max_epochs=1, limit_train_batches=batches, callbacks=[Clock()], accelerator="cpu", logger=False,
                       enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False)  # fmt: skip

    kind, told = THEIRS[name]
    model = getattr(models, kind)(
        n_blocks=SHAPE["blocks"], n_factors=SHAPE["width"], dropout_rate=SHAPE["dropout"], loss="softmax", lr=1e-3,
        session_max_len=SHAPE["max_length"], batch_size=128, epochs=1, get_trainer_func=trainer, **told,
    )  # fmt: skip
    model.fit(Dataset.construct(pd.DataFrame(log)))
    return between(at)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(OURS), action="append")
    parser.add_argument("--repeat", type=int, default=2, help="runs of each side, alternating")
    parser.add_argument("--batches", type=int, default=OF_EPOCH, help="of the epoch; the first is not timed")
    parser.add_argument("--limit-s", type=float, default=1800, help="a run is stopped after this")
    parser.add_argument("--note", help="what a reader of the result must know, e.g. other work on the machine")
    parser.add_argument("--side", nargs=3, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.side:
        side, name, file = a.side
        print("\n" + json.dumps((ours if side == "ours" else theirs)(name, Path(file), a.batches)))
        return
    rows, claims = of_before("train_rectools", a.only or OURS)  # of those that are not run this time
    with tempfile.TemporaryDirectory() as place:
        path, python = prepare(DATASET, Path(place)), environment("rectools")
        log = Path(place) / f"{DATASET}-train.npz"
        for name in a.only or OURS:
            what = f"{DATASET}, an epoch of {name}, times as fast as RecTools 0.19"
            both = {"shopkeeper": (sys.executable, "ours", path), "rectools": (str(python), "theirs", log)}
            found: dict[str, list[dict[str, list[float]]]] = {side: [] for side in both}
            failed = "" if python else "its environment could not be made"
            for _ in range(0 if failed else a.repeat):
                for side, (interpreter, word, file) in both.items():
                    command = [interpreter, __file__, "--batches", str(a.batches), "--side", word, name, str(file)]
                    result = child(command, a.limit_s)
                    print(name, side, result, flush=True)
                    if isinstance(result, str):
                        failed = failed or f"{side}: {result}"
                    else:
                        found[side].append(result)
            if failed:
                claims.append(not_had("zoo", what, REQUIRED, failed))
                continue
            mean: dict[tuple[str, str], float] = {}
            for side, runs in found.items():
                for kind, figure in (("seconds", "batch"), ("cpu_seconds", "processor time of a batch")):
                    rows.append(row(f"{side} {name}", DATASET, figure, "s", [float(np.mean(r[kind])) for r in runs]))
                    mean[side, kind] = rows[-1]["median"]
            wall, used = (mean["rectools", k] / mean["shopkeeper", k] for k in ("seconds", "cpu_seconds"))
            rows.append(row(f"shopkeeper {name}", DATASET, "times as fast", "1", [wall]))
            rows.append(row(f"shopkeeper {name}", DATASET, "processor time, times less", "1", [used]))
            claims.append(at_least("zoo", what, wall, REQUIRED))
            claims.append(at_least("zoo", f"{what}, by processor time", used, REQUIRED))
    said = f"{a.batches} of {OF_EPOCH} batches of an epoch, the first not timed." if a.batches < OF_EPOCH else ""
    note = " ".join(part for part in (said, a.note) if part) or None
    write_result("train_rectools", rows, claims, versions={"rectools: rectools": "0.19.0"}, note=note)


if __name__ == "__main__":
    main()
