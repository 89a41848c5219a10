"""Memory of a training step with a million items: 512 sequences of 200 events, full softmax, width 64, 2 blocks.

    python benchmarks/large_catalogue.py                  # two steps (the second with Adam's moments), 4 minutes each
    python benchmarks/large_catalogue.py --items 100000   # smaller, to try it

The step runs on the GPU where there is one, else on the CPU in bf16, whose peak is that of the whole process. All
logits at once would take 512 * 200 * 1,000,000 * 2 bytes = 191 GiB, and their gradient as much again.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch

from _results import at_most, row, write_result
from shopkeeper.nn.networks.sasrec import SASRecNetwork, SASRecShape
from shopkeeper.training.batching.batches import TrainingView
from shopkeeper.training.config import Recipe, TrainerConfig
from shopkeeper.training.devices import execution, memory
from shopkeeper.training.module import SequenceModule
from shopkeeper.training.objectives.next_item import NextItem

BATCH, LENGTH, LIMIT_GIB = 512, 200, 40.0


def view_of(n_items: int) -> TrainingView:
    """`BATCH` random histories of `LENGTH` events."""
    rng, rows = np.random.default_rng(0), BATCH * LENGTH
    return TrainingView(
        item_M=torch.from_numpy(rng.integers(1, n_items + 1, rows, dtype=np.int32)),
        type_M=None,
        label_lo_M=torch.arange(rows, dtype=torch.int32),
        label_count_M=None,
        label_class_T=torch.from_numpy(rng.integers(0, n_items, rows, dtype=np.int32)),
        start_U=np.arange(0, rows, LENGTH),
        length_U=np.full(BATCH, LENGTH, np.int64),
        catalogue=np.arange(1, n_items + 1, dtype=np.int32),
        max_length=LENGTH,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--note", help="what a reader of the result must know, e.g. other work on the machine")
    a = parser.parse_args()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Python and the libraries
    config, recipe = TrainerConfig(), Recipe(batch_size=BATCH)
    device = execution.device_of(config)
    if device.type == "cpu":
        memory.keep_freed()
    plan = execution.choose(
        config, device=device, n_classes=a.items, max_length=LENGTH, batch_size=BATCH, resident=True
    )
    view = view_of(a.items)
    network = SASRecNetwork(SASRecShape(a.items, max_length=LENGTH)).to(device)
    shape = network.shape
    estimate = memory.estimate_memory(
        data_bytes=view.bytes, n_parameters=sum(p.numel() for p in network.parameters()), n_classes=a.items,
        width=shape.width, activations=network.activation_bytes(memory.value_bytes(plan), plan.fused_attention),
        length=LENGTH, plan=plan,
    )  # fmt: skip
    print(f"plan: {plan}\nmemory: about {estimate}", flush=True)
    objective = NextItem().learn_from(view, network, recipe.loss)
    objective.ready(network, plan, device, 0)
    module = SequenceModule(network, objective, recipe, plan, seed=0).to(device)
    optimizer = module.configure_optimizers()
    seconds, losses = [], []
    for step in range(a.steps):
        start = time.perf_counter()
        losses.append(float(module.accumulate(module.users_of(step), BATCH * LENGTH, optimizer)) / (BATCH * LENGTH))
        optimizer.step()
        module.step = step + 1
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        print(f"step {step + 1}: {seconds[-1]:.1f} s, loss {losses[-1]:.4f}", flush=True)
    module.shares.cores.close()
    on_gpu = device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    gpu = torch.cuda.get_device_name() if on_gpu else None
    data = f"{a.items:,} items x {LENGTH} x {BATCH}"
    rows = [
        row("shopkeeper", data, f"peak memory ({device.type})", "GiB", [peak / memory.GIB]),
        *(
            []
            if on_gpu
            else [row("shopkeeper", data, "of this before there was a network", "GiB", [before / memory.GIB])]
        ),
        row("shopkeeper", data, "memory that training says it will take", "GiB", [estimate.total / memory.GIB]),
        row("shopkeeper", data, f"step ({device.type})", "s", seconds),
        row("shopkeeper", data, "loss", "nats", losses),
    ]
    where = "one H100" if gpu and "H100" in gpu else gpu or "the CPU, whole process"
    what = f"1 million items, length 200, batch 512 on {where}, GiB"
    claims = [at_most("training", what, peak / memory.GIB, LIMIT_GIB, kind=None if "H100" in where else "aim")]
    write_result("large_catalogue", rows, claims if a.items == 1_000_000 else [], gpu=gpu, note=a.note)


if __name__ == "__main__":
    main()
