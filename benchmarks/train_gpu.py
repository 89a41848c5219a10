"""Training on one GPU: seconds of an epoch of every network, and the share of the card's bf16 peak at width 256.

    python benchmarks/train_gpu.py --warm           # every case for one epoch, all at once: fills the compilers' cache
    python benchmarks/train_gpu.py                  # wants data/prepared/ml_1m: python prepare.py dataset=ml_1m
    python benchmarks/train_gpu.py --cases sasrec-128 hstu
    python benchmarks/train_gpu.py --epochs 1 --cases hstu --allow-cpu     # the script itself, without a GPU

Each case runs in a process of its own; the result is written after each, and what is not run this time is kept.

Recommenders train on ml_1m, 200 events read, width 64, 2 blocks, as in train.py. SASRec does so with several batch
sizes (learning rate times the root of the batch's growth), each until validation NDCG@10 has not risen for 10 epochs or
`--epochs` have passed: the fastest whose best NDCG@10 is at least 99 % of that of batch 128 counts. Peak: SASRec of
width 256, 3 blocks; the arithmetic of the real positions alone (padding is not counted, attention only up to the
diagonal), forwards and twice that backwards, over the time of an epoch, divided by what an 8192 x 8192 product of bf16
matrices reaches on the same card. The other recommenders' time is told, 8 epochs each. `customers` is the causal
Transformer of customers at 8 cutoffs of a drawn log of which 10 million events are read.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
import torch

from _results import ROOT, at_least, at_most, not_had, of_file, row, write_result
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.models.fit import Fit
from shopkeeper.training.batching.batches import TrainingView
from shopkeeper.training.config import TrainerConfig

LENGTH, LR, KEEPS, EPOCHS = 200, 1e-3, 0.99, 8
CARDS = ("H100", "H200")  # one processor, memories of two sizes and speeds


@dataclass(frozen=True)
class Case:
    """A network of recommenders and its settings, as far as they are not those above."""

    network: str
    settings: dict[str, Any] = field(default_factory=dict)
    until_best: bool = False  # trained until patience ends it, not for `EPOCHS` epochs


def _batch(size: int) -> dict[str, Any]:
    return {"batch_size": size, "lr": LR * math.sqrt(size / 128)}


CASES = {
    "sasrec-128": Case("sasrec.SASRec", _batch(128), until_best=True),
    "sasrec-512": Case("sasrec.SASRec", _batch(512), until_best=True),
    "sasrec-1024": Case("sasrec.SASRec", _batch(1024), until_best=True),
    "sasrec-256-wide": Case("sasrec.SASRec", _batch(1024) | {"width": 256, "blocks": 3}),
    "hstu": Case("hstu.HSTU"),
    "bert4rec": Case("bert4rec.BERT4Rec"),
    "gru4rec": Case("gru4rec.GRU4Rec", {"blocks": None}),
    "lrurec": Case("lrurec.LRURec"),
    "narm": Case("narm.NARM", {"blocks": None}),
    "two_tower": Case("two_tower.TwoTower", {"blocks": None}),
    "customers": Case("transformer.Transformer"),
}


def ml_1m() -> Split:
    """The prepared log under its leave-one-out split."""
    prepared = Prepared.open(ROOT / "data" / "prepared" / "ml_1m")
    return Split.named(prepared, next((prepared.path / "splits").glob("leave_one_out-*")).name)


def trained(case: Case, epochs: int, compiled: str) -> dict[str, Any]:
    """Seconds of each epoch but those in which it is compiled; the best validation NDCG@10 and the plan."""
    split = ml_1m()
    settings = {"width": 64, "blocks": 2, "max_length": LENGTH, "dropout": 0.2, "inputs": "targets", "batch_size": 128,
                "lr": LR, "patience": 10, "epochs": epochs if case.until_best else min(epochs, EPOCHS)}  # fmt: skip
    settings = {k: v for k, v in (settings | case.settings).items() if v is not None}
    module, name = case.network.split(".")
    model = getattr(import_module(f"shopkeeper.recommenders.networks.{module}"), name)(**settings)
    targets = tuple(split.timeline["spec"]["target_events"])
    trainer = TrainerConfig(compile=compiled)
    fit = Fit(seed=1, target_events=targets, filter_seen=True, trainer=trainer, progress=False)
    model.fit(split.prepared, split, fit)
    history = model.trained.history
    found = {"seconds": [h["seconds"] for h in history[2:] or history], "plan": model.trained.plan.to_json(),
             "ndcg": max(h["ndcg@10"] for h in history)}  # fmt: skip
    if model.network.shape.width == 256:
        view = TrainingView.build(split, targets, "targets", LENGTH)
        found["flop"] = arithmetic(view, 256, model.network.shape.blocks)
        found["peak"] = peak_of(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return found


def arithmetic(view: TrainingView, width: int, blocks: int) -> float:
    """Floating point operations of an epoch."""
    length_U = view.length_U.astype(np.float64)
    positions = length_U.sum()
    linear = blocks * 6 * 2 * width**2 * positions
    attention = blocks * 2 * 2 * width * (length_U * (length_U + 1) / 2).sum()
    softmax = 2 * width * len(view.catalogue) * positions
    return 3 * float(linear + attention + softmax)


def peak_of(device: torch.device) -> float:
    """What a large product of bf16 matrices reaches, FLOP/s."""
    n = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = math.inf
    for _ in range(20):
        start = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best


def of_customers(epochs: int, compiled: str, n_customers: int) -> dict[str, Any]:
    """Seconds of each epoch of the customers' Transformer but the first two, and the events that it reads in one."""
    from customers_speed import MAX_LENGTH, cutoffs, labelled

    # Of 52 events a customer 50 are among somebody's newest 256.
    cohort, length = labelled(52 * n_customers, n_customers, cutoffs())
    at: list[float] = []
    fit = Fit(
        seed=1,
        trainer=TrainerConfig(compile=compiled, validation_requests=0),
        log=lambda metrics, epoch: at.append(time.perf_counter()),
        progress=False,
    )
    Transformer = import_module("shopkeeper.customers.networks.transformer").Transformer
    model = Transformer(max_length=MAX_LENGTH, batch_size=1024, lr=4e-3, epochs=max(epochs, 2))
    model.fit(cohort, None, fit)
    longest = np.zeros(cohort.customer.max() + 1, np.int64)
    np.maximum.at(longest, cohort.customer, np.minimum(length, MAX_LENGTH))
    return {"seconds": np.diff(at)[1:].tolist() or np.diff(at).tolist(), "events": int(longest.sum()),
            "plan": model.trained.plan.to_json()}  # fmt: skip


def measured(name: str, epochs: int, compiled: str) -> dict[str, Any]:
    """A case in this process."""
    if name == "customers":
        return of_customers(min(epochs, 4), compiled, 200_000 if torch.cuda.is_available() else 2_000)
    return trained(CASES[name], epochs, compiled)


def apart(name: str, epochs: int, compiled: str) -> dict[str, Any] | None:
    """A case in a process of its own; None where it fails, with its last words."""
    command = [sys.executable, __file__, "--one", name, "--epochs", str(epochs), "--compile", compiled]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    said = [line for line in done.stderr.splitlines() if "trial" in line or "plan" in line or "rror" in line]
    print(name, *said[-8:], sep="\n  ", file=sys.stderr, flush=True)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def rows_of(name: str, found: dict[str, Any], gpu: str | None) -> list[dict[str, Any]]:
    """What the result says of a case."""
    plan = found["plan"]
    way = "CUDA graphs" if plan["graphs"] else "compiled" if plan["compile"] else "eager"
    data = f"{found['events']:,} events, 8 cutoffs" if name == "customers" else "ml_1m"
    rows = [row(f"shopkeeper {name}", data, "epoch", "s", found["seconds"]) | {"softmax": plan["softmax"], "way": way}]
    if CASES[name].until_best:
        rows.append(row(f"shopkeeper {name}", data, "best validation NDCG@10", "1", [found["ndcg"]]))
    if "peak" in found:
        share = found["flop"] / rows[0]["median"] / found["peak"]
        rows.append(row(f"{gpu or 'cpu'} {name}", "8192 x 8192", "bf16 product", "FLOP/s", [found["peak"]]))
        rows.append(row(f"shopkeeper {name}", data, "share of the bf16 peak", "1", [share]))
    return rows


def claims_of(rows: list[dict[str, Any]], card: str | None) -> list[dict[str, Any]]:
    """What the issues ask of one H100, with the card that it was measured on."""
    at = {(r["system"].split()[-1], r["figure"]): r["median"] for r in rows}
    where = f"one {card}" if card else "one H100"
    epoch, peak = (
        f"ml_1m epoch at width 64 on {where}, s",
        f"ml_1m at width 256, 3 blocks on {where}, share of bf16 peak",
    )
    ten = f"an epoch of the customers' Transformer over 10 million events on {where}, s"
    asked = (("training", epoch, 1.0), ("training", peak, 0.35), ("customers", ten, 15.0))
    if not card:
        return [not_had(issue, what, bound, "no H100 in this run") for issue, what, bound in asked]
    best, claims = "best validation NDCG@10", []
    good = [seconds for (name, figure), seconds in at.items() if figure == "epoch" and name.startswith("sasrec-")
            and at.get((name, best), 0) >= KEEPS * at.get(("sasrec-128", best), math.inf)]  # fmt: skip
    values = (
        min(good, default=None),
        at.get(("sasrec-256-wide", "share of the bf16 peak")),
        at.get(("customers", "epoch")),
    )
    for (issue, what, bound), value, holds in zip(asked, values, (at_most, at_least, at_most), strict=True):
        claims.append(not_had(issue, what, bound, "not run") if value is None else holds(issue, what, value, bound))
    return claims


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument(
        "--compile", choices=["auto", "off"], default="auto", help="off: no trial, which takes a minute"
    )
    parser.add_argument("--warm", action="store_true", help="one epoch of each, all at once; no result is written")
    parser.add_argument("--allow-cpu", action="store_true", help="run without a GPU; no result is written")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.one:
        print(json.dumps(measured(a.one, a.epochs, a.compile)))
        return
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    card = next((name for name in CARDS if gpu and name in gpu), None)
    if a.warm:
        with ThreadPoolExecutor(len(a.cases)) as pool:
            list(pool.map(lambda name: apart(name, 1, a.compile), a.cases))
        return
    if not gpu and not a.allow_cpu:
        sys.exit("no GPU can be seen; --allow-cpu tries the script itself")
    for name in a.cases:
        found = apart(name, a.epochs, a.compile)
        if found is None:
            continue
        mine = rows_of(name, found, gpu)
        print(*mine, sep="\n", flush=True)
        if gpu:
            before = [r for r in of_file("train_gpu")[0] if r["system"].split()[-1] != name]
            write_result("train_gpu", before + mine, claims_of(before + mine, card), gpu=gpu)


if __name__ == "__main__":
    main()
