"""How fast GRU4Rec and BERT4Rec train here, and in RecBole 1.2.1 with its own defaults, on ml_100k.

    python benchmarks/train_recbole.py                        # both, alternating; needs `make recbole`
    python benchmarks/train_recbole.py --only gru4rec --repeat 1
    python benchmarks/train_recbole.py --only bert4rec --batches 2

RecBole trains as it does by itself: leave-one-out, a row for each prefix of a history of at most 50 items, batches of
2,048 rows. Ours has at least its width (GRU4Rec 128, its hidden size; BERT4Rec 64, two blocks and two heads), histories
of 200 and the shipped batch. Compared is the time of one target: an item that is predicted in an epoch; for BERT4Rec,
one that is hidden. With `--batches` RecBole takes only so many: an epoch of its BERT4Rec does not end in minutes.
Of a batch of BERT4Rec's rows it hides, by a coin (`ft_ratio` .5), a fifth of the items or the last one of each row: of
its first two batches, with its own seed, one is of each kind, as of a whole epoch half are.
Two threads each, that wait passively. The first epoch of a run is left out where there are several.
Writes `benchmarks/results/train_recbole.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from _results import ROOT, at_least, not_had, of_before, row, write_result
from _training import THREADS, child, environment, prepare

DATASET, REQUIRED = "ml_100k", 40
MODELS = {  # ours: RecBole's name, and settings that make ours at least as wide
    "gru4rec": ("GRU4Rec", ["model.width=128", "model.inputs=targets"]),
    "bert4rec": ("BERT4Rec", ["model.width=64", "model.blocks=2", "model.heads=2", "model.inputs=targets"]),
}


def processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def ours(name: str, split_path: Path, epochs: int) -> dict[str, Any]:
    """Seconds and targets of each epoch here."""
    from shopkeeper.data.prepared import Prepared
    from shopkeeper.data.split import Split
    from shopkeeper.models.fit import Fit
    from shopkeeper.models.make import make
    from shopkeeper.pipeline.stages.compose import composed
    from shopkeeper.pipeline.told import plain
    from shopkeeper.training.config import TrainerConfig
    from shopkeeper.training.module import SequenceModule

    targets: list[float] = []  # what is predicted in an epoch; of hidden items, how many are on average
    end_of_epoch = SequenceModule.on_train_epoch_end

    def counted(self: Any) -> None:
        targets.append(self.running()["labels"])
        end_of_epoch(self)

    SequenceModule.on_train_epoch_end = counted  # type: ignore[method-assign]
    prepared = Prepared.open(split_path.parents[1])
    split = Split.named(prepared, split_path.name)
    words = [f"dataset={DATASET}", f"model={name}", "tracking=none", *MODELS[name][1], f"model.epochs={epochs}"]
    model, at = make(plain(composed("train", words))["model"]), [processor()]
    trainer = TrainerConfig(accelerator="cpu", threads=THREADS, validation_requests=0)
    target = tuple(split.timeline["spec"]["target_events"])
    model.fit(prepared, split, Fit(seed=1, target_events=target, trainer=trainer, progress=False,
                                   log=lambda *_: at.append(processor())))  # fmt: skip
    history = model.trained.history
    epochs_ = zip(history, np.diff(at).tolist(), targets, strict=True)
    return {"epochs": [{"seconds": h["seconds"], "cpu_seconds": used, "targets": n} for h, used, n in epochs_]}


def theirs(name: str, file: Path, batches: int) -> dict[str, Any]:
    """The same of one epoch in RecBole, or of its first batches where `batches` is not 0; in its own environment."""
    import torch

    sys.argv = sys.argv[:1]  # it reads the command line
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    torch.set_num_threads(THREADS)
    with np.load(file, allow_pickle=False) as data, tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        (Path(place) / "log").mkdir()
        user = np.repeat(np.arange(1, len(data["offsets"])), np.diff(data["offsets"]))
        rows = np.stack([user, data["item"], np.arange(len(user))], 1)
        np.savetxt(Path(place) / "log" / "log.inter", rows, "%d", "\t", comments="",
                   header="user_id:token\titem_id:token\ttimestamp:float")  # fmt: skip
        settings = {
            "data_path": place, "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "use_gpu": False,
            "train_neg_sample_args": None, "show_progress": False, "checkpoint_dir": place, "state": "ERROR",
        }  # fmt: skip
        config = Config(model=name, dataset="log", config_dict=settings)
        init_seed(config["seed"], True)
        train, _, _ = data_preparation(config, create_dataset(config))
        model = get_model(name)(config, train.dataset)
        trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
        counted, loss_of = [0], model.calculate_loss

        def counting(asked: Any) -> Any:
            hidden = asked["Pos_item_id"] if name == "BERT4Rec" else asked["item_id"]
            counted[0] += int((hidden > 0).sum())
            return loss_of(asked)

        asked = islice(train, batches) if batches else train
        wall, used = time.perf_counter(), processor()
        trainer._train_epoch(asked, 0, loss_func=counting)
        spent = {"seconds": time.perf_counter() - wall, "cpu_seconds": processor() - used}
    return {"epochs": [spent | {"targets": counted[0]}], "batches": [batches or len(train), len(train)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(MODELS), action="append")
    parser.add_argument("--repeat", type=int, default=2, help="runs of each side, alternating")
    parser.add_argument("--epochs", type=int, default=4, help="of each of our runs; RecBole's take one")
    parser.add_argument("--batches", type=int, default=0, help="that RecBole takes of an epoch; 0: all")
    parser.add_argument("--limit-s", type=float, default=1800, help="a run is stopped after this")
    parser.add_argument("--note", help="what a reader of the result must know, e.g. other work on the machine")
    parser.add_argument("--side", nargs=4, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.side:
        side, name, file, n = a.side
        print("\n" + json.dumps((ours if side == "ours" else theirs)(name, Path(file), int(n))))
        return
    rows, claims = of_before("train_recbole", a.only or MODELS)  # of those that are not run this time
    with tempfile.TemporaryDirectory() as place:
        split, python = prepare(DATASET, Path(place)), environment("recbole")
        for name in a.only or MODELS:
            what = f"{DATASET}, {name}: the time of a target, times as fast as RecBole with its defaults"
            if not (ROOT / "conf" / "model" / f"{name}.yaml").is_file() or python is None:
                claims.append(not_had("zoo", what, REQUIRED, "no such model" if python else "no .venv-recbole"))
                continue
            sides = {
                "shopkeeper": [sys.executable, __file__, "--side", "ours", name, str(split), str(a.epochs)],
                "recbole": [str(python), __file__, "--side", "theirs", MODELS[name][0],
                            f"{place}/{DATASET}-all.npz", str(a.batches)],
            }  # fmt: skip
            found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
            failed = ""
            for _ in range(a.repeat):
                for side, command in sides.items():
                    result = child(command, a.limit_s)
                    print(name, side, result, flush=True)
                    if isinstance(result, str):
                        failed = f"{side}: {result}"
                    else:
                        found[side] += result["epochs"][1:] or result["epochs"]
            if failed:
                claims.append(not_had("zoo", what, REQUIRED, failed))
                continue
            of_target: dict[str, dict[str, float]] = {}
            for side, epochs in found.items():
                system = f"{side} {name}"
                rows.append(row(system, DATASET, "epoch", "s", [e["seconds"] for e in epochs]))
                rows.append(row(system, DATASET, "processor time of an epoch", "s", [e["cpu_seconds"] for e in epochs]))
                rows.append(row(system, DATASET, "targets of an epoch", "1", [e["targets"] for e in epochs]))
                of_target[side] = {
                    kind: float(np.median([e[kind] / e["targets"] for e in epochs]))
                    for kind in ("seconds", "cpu_seconds")
                }
            wall, used = (of_target["recbole"][k] / of_target["shopkeeper"][k] for k in ("seconds", "cpu_seconds"))
            rows.append(row(f"shopkeeper {name}", DATASET, "processor time of a target, times less", "1", [used]))
            claims.append(at_least("zoo", what, wall, REQUIRED))
            claims.append(at_least("zoo", f"{what}, by processor time", used, REQUIRED))
    versions = {} if python is None else {"recbole: recbole": "1.2.1"}
    said = f"RecBole's epoch is its first {a.batches} batches." if a.batches else ""
    note = " ".join(part for part in (said, a.note) if part) or None
    write_result("train_recbole", rows, claims, versions=versions, note=note)


if __name__ == "__main__":
    main()
