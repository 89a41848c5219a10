"""What the customer's own history costs a sequence model: an epoch, and answers, with it and without it.

    python benchmarks/own_history.py --dataset online_retail --note "…"     # a minute on one core

Processor time of one thread, the median of several rounds, all in one process: SASRec with its defaults and baskets as
targets, with `history=kernel` and with `none`, which take turns. The dataset must be prepared. Writes
`benchmarks/results/own_history.json`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from _results import ROOT, at_most, row, write_result
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.networks.sasrec import SASRec
from shopkeeper.training.config import TrainerConfig

TRAINER = TrainerConfig(accelerator="cpu", precision="fp32", threads=1, validation_requests=0, max_epochs=4)
BATCHES, TRAININGS, ROUNDS, ALONE = 12, 3, 9, 200


def measured(prepared: Prepared, split: Split) -> dict[str, dict[str, list[float]]]:
    """Seconds of each thing that is measured, by what is done with own histories: trainings and answers take turns."""
    requests, _ = split.part("test")
    models, took = dict[str, SASRec](), dict[str, dict[str, list[float]]]()
    for history in ("none", "kernel") * TRAININGS:
        model, at = SASRec(history=history, targets="baskets"), list[float]()

        def log(metrics: Mapping[str, float], epoch: int, at: list[float] = at) -> None:
            at.append(time.process_time())

        model.fit(prepared, split, Fit(seed=1, trainer=replace(TRAINER, max_batches=BATCHES), progress=False, log=log))
        models[history] = model
        took.setdefault(history, {}).setdefault(f"{BATCHES} batches", []).extend(np.diff(at).tolist())
    works: dict[str, Callable[[Any], Any]] = {
        "all test requests": lambda model: model.score(requests),
        f"{ALONE} requests, one by one": lambda model: [model.score(requests[i : i + 1]) for i in range(ALONE)],
    }
    for what, work in works.items():
        for _ in range(ROUNDS):
            for history, model in models.items():
                start = time.process_time()
                work(model)
                took[history].setdefault(what, []).append(time.process_time() - start)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", nargs="+", default=["demo_shop", "online_retail"])
    parser.add_argument("--prepared", type=Path, default=ROOT / "data" / "prepared")
    parser.add_argument("--note", help="what a reader of the result must know, e.g. other work on the machine")
    a = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)  # of NumPy, whose second thread waits in processor time
    rows, claims = [], []
    for name in a.dataset:
        prepared = Prepared.open(a.prepared / name)
        split = Split.named(prepared, next((a.prepared / name / "splits").glob("temporal-*")).name)
        took = measured(prepared, split)
        for history, of in took.items():
            rows += [row(f"sasrec, history={history}", name, what, "s", times) for what, times in of.items()]
        for what, limit in zip(took["kernel"], (1.25, 1.5, 1.5), strict=True):
            ratio = float(np.median(took["kernel"][what]) / np.median(took["none"][what]))
            print(f"{name}, {what}: {ratio:.2f} times")
            claims.append(at_most("Shops", f"{name}: {what}, with the kernel / without", ratio, limit))
    write_result("own_history", rows, claims, note=a.note)


if __name__ == "__main__":
    main()
