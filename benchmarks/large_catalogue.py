"""Memory of a training step with a million items: 512 sequences of 200 events, full softmax, width 64, 2 blocks.

    python benchmarks/large_catalogue.py                  # SASRec, every position learned; two steps of minutes each
    python benchmarks/large_catalogue.py --models sasrec gru4rec bert4rec hstu lrurec narm two_tower --every 20
    python benchmarks/large_catalogue.py --items 100000   # smaller, to try it

Each model runs in a process of its own, two steps: the second one with Adam's moments. A step runs on the GPU where
there is one, else on the CPU in bf16, whose peak is that of the whole process. All logits at once would take 512 * 200
* 1,000,000 * 2 bytes = 191 GiB, and their gradient as much again.

With `--every` n one in n positions is learned, all of them are read: the softmax takes its rows a chunk at a time, so
that more of them cost time and next to no memory. BERT4Rec has as many masks as are shipped (.2), the same share of
which is learned; HSTU reads times; NARM and two towers read 200 events, too, where they are shipped with 50.
Writes `benchmarks/results/large_catalogue.json` after each (`large_catalogue_gpu.json` on a GPU); rows of models that
are not run this time are kept.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import torch

from _results import ROOT, at_most, of_before, row, write_result
from shopkeeper.schema import MICROSECONDS_PER_DAY
from shopkeeper.training.batching.batches import Batch, TrainingView
from shopkeeper.training.batching.cloze import ClozeView
from shopkeeper.training.config import Recipe, TrainerConfig
from shopkeeper.training.devices import execution, memory
from shopkeeper.training.module import SequenceModule
from shopkeeper.training.objectives.next_item import NextItem

BATCH, LENGTH = 512, 200
LIMIT_GPU_GIB, LIMIT_GIB = 40.0, 3.92  # on the CPU: what SASRec took when the others were asked to
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "sasrec": ("SASRec", {}),
    "gru4rec": ("GRU4Rec", {}),
    "bert4rec": ("BERT4Rec", {}),
    "hstu": ("HSTU", {"time": True}),
    "lrurec": ("LRURec", {}),
    "narm": ("NARM", {}),
    "two_tower": ("TwoTower", {}),
}


class SomeLearned(NextItem):
    """The next item, learned at one in `every` of the positions."""

    every = 1

    def show(self, *asked: Any, **told: Any) -> Batch:
        """A batch with fewer labels."""
        batch = super().show(*asked, **told)
        at_N = batch.layout.slot_N if batch.labelled_N is None else batch.labelled_N
        return replace(batch, label_N=batch.label_N[:: self.every], labelled_N=at_N[:: self.every])


def view_of(n_items: int, network: Any) -> TrainingView | ClozeView:
    """`BATCH` random histories of `LENGTH` events, as the network learns from them."""
    rng, rows = np.random.default_rng(0), BATCH * LENGTH
    item_M = torch.from_numpy(rng.integers(1, n_items + 1, rows, dtype=np.int32))
    start_U, length_U = np.arange(0, rows, LENGTH), np.full(BATCH, LENGTH, np.int64)
    catalogue = np.arange(1, n_items + 1, dtype=np.int32)
    if network.mask:
        return ClozeView(
            item_M=item_M,
            type_M=None,
            step_M=torch.arange(1, rows + 1, dtype=torch.int32),
            class_V=torch.arange(-1, n_items).clamp(min=0),
            start_U=start_U,
            length_U=length_U,
            labels_U=length_U * network.shape.masked,
            catalogue=catalogue,
            mask=network.mask,
            masked=network.shape.masked,
            masked_last=network.shape.masked_last,
        )
    gaps = rng.exponential(MICROSECONDS_PER_DAY, rows + 1).astype(np.int64)
    return TrainingView(
        item_M=item_M,
        type_M=None,
        label_lo_M=torch.arange(rows, dtype=torch.int32),
        label_count_M=None,
        label_class_T=torch.from_numpy(rng.integers(0, n_items, rows, dtype=np.int32)),
        start_U=start_U,
        length_U=length_U,
        catalogue=catalogue,
        max_length=LENGTH,
        time_M=torch.from_numpy(gaps.cumsum()) if "until" in network.reads else None,
        reads=network.reads,
    )


def measured(name: str, n_items: int, steps: int, every: int) -> dict[str, Any]:
    """Peak memory of this process, GiB, after some steps; what training would say; seconds and loss of each step."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Python and the libraries
    called, settings = MODELS[name]
    model = getattr(import_module(f"shopkeeper.recommenders.networks.{name}"), called)
    config, recipe = TrainerConfig(), Recipe(batch_size=BATCH)
    device = execution.device_of(config)
    if device.type == "cpu":
        memory.keep_freed()
    network = model.network_class(model.shape_class(n_items, max_length=LENGTH, **settings)).to(device)
    plan = execution.choose(
        config, device=device, n_classes=n_items, max_length=LENGTH, batch_size=BATCH, resident=True,
        work=execution.work_of(network, n_items, BATCH * LENGTH),
    )  # fmt: skip
    view, each = view_of(n_items, network), network.activation_bytes(memory.value_bytes(plan), plan.fused_attention)
    plan = execution.within(plan, config, each * LENGTH)  # as `training.fit` does
    estimate = memory.estimate_memory(
        data_bytes=view.bytes, n_parameters=sum(p.numel() for p in network.parameters()), n_classes=n_items,
        width=network.shape.width, activations=each, length=LENGTH, plan=plan,
    )  # fmt: skip
    print(f"plan: {plan}\nmemory: about {estimate}", file=sys.stderr, flush=True)
    objective = SomeLearned()
    objective.every = every
    objective.learn_from(view, network, recipe.loss).ready(network, plan, device, 0)
    module = SequenceModule(network, objective, recipe, plan, seed=0).to(device)
    optimizer = module.configure_optimizers()
    labels = int(view.labels_U.sum()) // every
    seconds, losses = [], []
    for step in range(steps):
        start = time.perf_counter()
        losses.append(float(module.accumulate(module.users_of(step), labels, optimizer)) / labels)
        optimizer.step()
        module.step = step + 1
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        print(f"{name}, step {step + 1}: {seconds[-1]:.1f} s, loss {losses[-1]:.4f}", file=sys.stderr, flush=True)
    module.shares.cores.close()
    on_gpu = device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"device": device.type, "gpu": torch.cuda.get_device_name() if on_gpu else None, "peak": peak / memory.GIB,
            "before": before / memory.GIB, "said": estimate.total / memory.GIB, "seconds": seconds, "losses": losses,
            "threads": plan.threads}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=["sasrec"])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="one in so many positions is learned")
    parser.add_argument("--note", help="what a reader of the result must know, e.g. other work on the machine")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.one:
        print(json.dumps(measured(a.models[0], a.items, a.steps, a.every)))
        return
    file = "large_catalogue_gpu" if torch.cuda.is_available() else "large_catalogue"
    for name in a.models:
        rows, claims = of_before(file, [name])
        command = [sys.executable, __file__, "--one", "--models", name, "--items", str(a.items), "--steps",
                   str(a.steps), "--every", str(a.every)]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
        found = json.loads(done.stdout.splitlines()[-1])
        gpu, system = found["gpu"], f"shopkeeper {name}"
        data = f"{a.items:,} items x {LENGTH} x {BATCH}" + (f", 1 in {a.every} learned" if a.every > 1 else "")
        rows += [
            row(system, data, f"peak memory ({found['device']}, {found['threads']} threads)", "GiB", [found["peak"]]),
            row(system, data, "memory that training says it will take", "GiB", [found["said"]]),
            row(system, data, f"step ({found['device']})", "s", found["seconds"]),
            row(system, data, "loss", "nats", found["losses"]),
        ]  # fmt: skip
        if not gpu:
            rows.append(row(system, data, "of this before there was a network", "GiB", [found["before"]]))
        where = gpu or "the CPU, whole process"
        what = f"{data}, {name} on {where}, GiB"
        limit = LIMIT_GPU_GIB if gpu else LIMIT_GIB
        if a.items == 1_000_000:
            claims.append(at_most("training" if gpu else "zoo", what, found["peak"], limit))
        write_result(file, rows, claims, gpu=gpu, note=a.note)


if __name__ == "__main__":
    main()
