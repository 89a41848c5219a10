"""What evaluating a trained SASRec on ml_1m costs, as a share of one of its training epochs.

    python benchmarks/evaluate_sasrec.py

Evaluation is all of `evaluate_requests` (encode, rank, every column) and `summarise` with 1,000 resamples, on the test
requests of leave-one-out. Two threads; epoch and evaluation follow one another, so that other work slows both alike.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads sleep

import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from _results import at_most, row, write_result

ROOT = Path(__file__).resolve().parents[1]
DATASET = "ml_1m"


def noted(seconds: list[float], metrics: Mapping[str, float], step: int) -> None:
    """Keep how long an epoch took."""
    if "seconds" in metrics:
        seconds.append(float(metrics["seconds"]))


def main(repetitions: int) -> None:
    import torch
    from hydra import compose, initialize_config_dir

    from shopkeeper.data.prepared import Prepared
    from shopkeeper.data.split import Split
    from shopkeeper.evaluation.rows.items import evaluate_requests
    from shopkeeper.evaluation.table import summarise
    from shopkeeper.models.fit import Fit
    from shopkeeper.models.make import make
    from shopkeeper.pipeline.told import plain
    from shopkeeper.training.config import TrainerConfig

    torch.set_num_threads(2)
    command = [sys.executable, "prepare.py", f"dataset={DATASET}", "split=leave_one_out"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    prepared = Prepared.open(ROOT / "data" / "prepared" / DATASET)
    split = Split.named(prepared, next((prepared.path / "splits").glob("leave_one_out-*")).name)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        composed = plain(compose("train", [f"dataset={DATASET}", "model=sasrec", "trainer=auto"]))
    config, trainer = composed["model"], composed["trainer"]
    epochs, costs, parts = [], [], []
    for repetition in range(repetitions):
        model = make({**config, "epochs": 2})  # the second one counts: the first pays for what is made once
        seen: list[float] = []
        fit = Fit(
            seed=repetition,
            trainer=TrainerConfig.of({**trainer, "threads": 2, "validation_requests": 100}),
            target_events=("rating",),
            filter_seen=True,
            log=partial(noted, seen),
            progress=False,
        )
        model.fit(prepared, split, fit)
        start = time.perf_counter()
        table = evaluate_requests(model, split, "test", filter_seen=True)
        parts.append(time.perf_counter() - start)
        summarise(table)
        costs.append(time.perf_counter() - start)
        epochs.append(seen[-1])
        print(f"epoch {epochs[-1]:.1f} s, evaluation {costs[-1]:.2f} s, of it the table {parts[-1]:.2f} s", flush=True)
    rows = [
        row("shopkeeper", DATASET, "training epoch of sasrec", "s", epochs),
        row("shopkeeper", DATASET, "evaluation of sasrec on test", "s", costs),
        row("shopkeeper", DATASET, "of it the per-request table", "s", parts),
    ]
    share = rows[1]["median"] / rows[0]["median"]
    what = "evaluating SASRec on ml_1m, share of one training epoch"
    write_result("evaluate_sasrec", rows, [at_most("evaluation", what, share, 0.15)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=3)
    main(parser.parse_args().repetitions)
