"""Where bf16 trains faster than float32 on a CPU: processor time of the same batches in both, and what `auto` takes.

    python benchmarks/precision.py                     # some minutes on one core
    python benchmarks/precision.py --only 'ml_1m sasrec' --note "…"

bf16 halves what products read and write, but for each new shape oneDNN makes a kernel first. So it gains where a batch
has much to multiply. Each case is a model of `conf/model` on a prepared dataset (`python prepare.py dataset=…`), for
some epochs of `BATCHES` batches in a process of its own, one thread, in each precision in turn; the first epoch is
left out. `work` is what the rule looks at (`training.devices.execution.work_of`). Writes `results/precision.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from _results import ROOT, row, write_result
from shopkeeper.training.devices import execution

BATCHES, EPOCHS = 12, 4
CASES = {  # dataset, model, kind of split, settings beside those of the model's YAML
    f"{dataset} {model}{' ' + ' '.join(settings) if settings else ''}": (dataset, model, split, settings)
    for dataset, split, models in (
        ("ml_1m", "leave_one_out", ("sasrec", "gru4rec", "hstu")),
        ("amazon_beauty", "leave_one_out", ("sasrec", "gru4rec")),
        ("ml_100k", "leave_one_out", ("sasrec", "gru4rec", "hstu", "bert4rec")),
        ("demo_shop", "temporal", ("sasrec", "gru4rec", "hstu", "narm", "two_tower", "sasrec_history")),
        ("online_retail", "temporal", ("sasrec", "sasrec_history")),
    )
    for model in models
    for settings in ([], ["model.width=256"])
    if not settings or model == "sasrec"
}


def measured(case: str, precision: str, prepared_at: Path) -> dict[str, Any]:
    """Processor seconds of each epoch but the first, memory, and the plan, of a training in this process."""
    import torch

    from shopkeeper.data.prepared import Prepared
    from shopkeeper.data.split import Split
    from shopkeeper.models.fit import Fit
    from shopkeeper.models.make import make
    from shopkeeper.pipeline.stages.compose import composed
    from shopkeeper.pipeline.told import plain
    from shopkeeper.training.config import TrainerConfig

    torch.set_num_threads(1)
    dataset, name, kind, settings = CASES[case]
    prepared = Prepared.open(prepared_at / dataset)
    split = Split.named(prepared, next((prepared.path / "splits").glob(f"{kind}-*")).name)
    config = TrainerConfig(
        accelerator="cpu", precision=precision, threads=1, validation_requests=0, max_epochs=EPOCHS, max_batches=BATCHES
    )
    at, works = list[float](), list[float]()
    original = execution.work_of

    def looked_at(*args: Any) -> float:
        works.append(original(*args))
        return works[-1]

    model = make(plain(composed("train", [f"dataset={dataset}", f"model={name}", *settings]))["model"])
    targets = tuple(split.timeline["spec"]["target_events"])
    asked = Fit(
        seed=1,
        target_events=targets,
        trainer=config,
        progress=False,
        log=lambda metrics, epoch: at.append(time.process_time()),
    )
    with patch.object(execution, "work_of", looked_at):
        model.fit(prepared, split, asked)
    return {
        "seconds": np.diff(at).tolist(),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "work": works[0],
    }


def apart(case: str, precision: str, prepared_at: Path) -> dict[str, Any]:
    """`measured` in a process of its own."""
    command = [sys.executable, __file__, "--one", case, precision, "--prepared", str(prepared_at)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, text=True, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{case} in {precision}: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE")
    parser.add_argument("--prepared", type=Path, default=ROOT / "data" / "prepared")
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--note", help="what a reader of the result must know, e.g. other work on the machine")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.one:
        print(json.dumps(measured(a.one[0], a.one[1], a.prepared)))
        return
    rows = []
    for case in a.only:
        found: dict[str, list[dict[str, Any]]] = {"bf16": [], "fp32": []}
        for _ in range(a.repetitions):
            for precision, runs in found.items():
                runs.append(apart(case, precision, a.prepared))
        work = found["fp32"][0]["work"]
        chosen = "bf16" if work >= execution.BF16_FROM else "fp32"
        seconds = {precision: [s for run in runs for s in run["seconds"]] for precision, runs in found.items()}
        for precision, runs in found.items():
            rows.append(row(precision, case, f"{BATCHES} batches", "s", seconds[precision]) | {"work": work})
            rows.append(row(precision, case, "peak memory", "GiB", [run["peak_gib"] for run in runs]))
        share = float(np.median(seconds["bf16"]) / np.median(seconds["fp32"]))
        rows.append(row("bf16", case, "share of fp32's time", "1", [share]) | {"work": work, "auto": chosen})
        print(f"{case:32s} work {work:.2e} bf16 / fp32 {share:.2f} auto {chosen}", flush=True)
    write_result("precision", rows, [], note=a.note)


if __name__ == "__main__":
    main()
