"""Training on one GPU: seconds of an ml_1m epoch, and the share of the card's bf16 peak at width 256.

    python benchmarks/train_gpu.py                  # wants data/prepared/ml_1m: python prepare.py dataset=ml_1m
    python benchmarks/train_gpu.py --epochs 1 --batches 128 --allow-cpu     # the script itself, without a GPU

Epoch: width 64, 2 blocks, as in train.py, with several batch sizes (learning rate times the root of the batch's
growth), each trained until validation NDCG@10 has not risen for 10 epochs. The fastest whose best NDCG@10 is at least
99 % of that of batch 128 counts. Peak: width 256, 3 blocks; the arithmetic of the real positions alone (padding is not
counted, attention only up to the diagonal), forwards and twice that backwards, over the time of an epoch, divided by
what an 8192 x 8192 product of bf16 matrices reaches on the same card. Of HSTU and BERT4Rec only the time is told.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
import torch

from _results import ROOT, at_least, at_most, not_had, row, write_result
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.networks.bert4rec import BERT4Rec
from shopkeeper.recommenders.networks.hstu import HSTU
from shopkeeper.recommenders.networks.sasrec import SASRec
from shopkeeper.training.batching.batches import TrainingView

LENGTH, LR, KEEPS = 200, 1e-3, 0.99
OTHERS = {"HSTU": HSTU, "BERT4Rec": BERT4Rec}  # their epochs are rows, too; no claim is made of them
EPOCH = "ml_1m epoch at width 64 on one H100, s"
PEAK = "ml_1m at width 256, 3 blocks on one H100, share of bf16 peak"


def trained(split: Split, epochs: int, width: int, blocks: int, batch: int, kind: type = SASRec) -> list[dict]:
    """The history of a training: seconds, loss, ndcg@10 of each epoch."""
    model = kind(
        width=width, blocks=blocks, max_length=LENGTH, dropout=0.2, inputs="targets", batch_size=batch,
        lr=LR * math.sqrt(batch / 128), epochs=epochs, patience=10,
    )  # fmt: skip
    targets = tuple(split.timeline["spec"]["target_events"])
    model.fit(split.prepared, split, Fit(seed=1, target_events=targets, filter_seen=True, progress=False))
    return model.trained.history


def arithmetic(split: Split, width: int, blocks: int) -> float:
    """Floating point operations of an epoch."""
    view = TrainingView.build(split, tuple(split.timeline["spec"]["target_events"]), "targets", LENGTH)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 512, 1024])
    parser.add_argument("--allow-cpu", action="store_true", help="run without a GPU; the claims stay unmeasured")
    a = parser.parse_args()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    rows, seconds, best = [], {}, {}
    if gpu or a.allow_cpu:
        prepared = Prepared.open(ROOT / "data" / "prepared" / "ml_1m")
        split = Split.named(prepared, next((prepared.path / "splits").glob("leave_one_out-*")).name)
        for batch in a.batches:
            history = trained(split, a.epochs, 64, 2, batch)
            times = [h["seconds"] for h in history[1:] or history]  # the first one compiles
            seconds[batch], best[batch] = float(np.median(times)), max(h["ndcg@10"] for h in history)
            rows.append(row("shopkeeper", "ml_1m", f"epoch, width 64, batch {batch}", "s", times))
            rows.append(row("shopkeeper", "ml_1m", f"best validation NDCG@10, batch {batch}", "1", [best[batch]]))
        for name, kind in OTHERS.items():
            history = trained(split, min(a.epochs, 8), 64, 2, a.batches[0], kind)
            times = [h["seconds"] for h in history[2:] or history]
            rows.append(row("shopkeeper", "ml_1m", f"{name}: epoch, width 64, batch {a.batches[0]}", "s", times))
        device = torch.device("cuda" if gpu else "cpu")
        history = trained(split, min(a.epochs, 8), 256, 3, a.batches[-1])
        times = [h["seconds"] for h in history[2:] or history]
        peak = peak_of(device)
        share = arithmetic(split, 256, 3) / float(np.median(times)) / peak
        rows.append(row("shopkeeper", "ml_1m", "epoch, width 256, 3 blocks", "s", times))
        rows.append(row(gpu or "cpu", "8192 x 8192", "bf16 product", "FLOP/s", [peak]))
        rows.append(row("shopkeeper", "ml_1m", "share of the bf16 peak, width 256, 3 blocks", "1", [share]))
    if gpu and "H100" in gpu:
        good = [s for batch, s in seconds.items() if best[batch] >= KEEPS * best[a.batches[0]]]
        claims = [at_most("training", EPOCH, min(good), 1.0), at_least("training", PEAK, share, 0.35)]
    else:
        claims = [not_had("training", what, bound, "no H100 in this run") for what, bound in ((EPOCH, 1), (PEAK, 0.35))]
    million = "1 million items, length 200, batch 512 on one H100, GiB"
    claims.append(not_had("training", million, 40, "not run on an H100: python benchmarks/large_catalogue.py"))
    if gpu or not a.allow_cpu:
        write_result("train_gpu", rows, claims, gpu=gpu)
    else:
        print(*rows, sep="\n")


if __name__ == "__main__":
    main()
