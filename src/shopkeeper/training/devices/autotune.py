"""A short trial on CUDA: a few batches in each way of computing; the fastest is taken and said in the log.

A way that fails (no compiler, an unsupported card, too little memory) is named and left out. All processes of a data
parallel training decide alike, from the sum of their times.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace
from typing import Any

import torch

from shopkeeper.training.config import Plan, TrainerConfig
from shopkeeper.training.devices import distributed, memory

log = logging.getLogger(__name__)
BATCHES = 4
WORTH = 0.9  # compiled must take at most this share of the time: it costs a minute to begin with
PAD = 2048  # CUDA graphs have fixed shapes: the positions of a batch are filled up to a multiple of this
WAYS: dict[str, dict[str, Any]] = {
    "eager": {"compile": False, "graphs": False},
    "compiled": {"compile": True, "graphs": False},
    "compiled with CUDA graphs": {"compile": True, "graphs": True, "pad": PAD},
}


def settle(module: Any, config: TrainerConfig, resumed: bool = False) -> Plan:
    """The module's plan with softmax kernel and compiling decided; the network is compiled where the plan says so.

    What is set by hand, or stored in the checkpoint of a `resumed` training, is not tried. On CPU nothing is: there the
    time goes into matrix products and softmax, which compiling does not change, and it needs a C++ compiler.
    """
    plan: Plan = module.plan
    if plan.device == "cuda" and not resumed:
        if plan.softmax != "chunked" and config.plan.softmax is None:
            plan = _apply(module, replace(plan, softmax=_kernel(module, plan)))
        if config.compile == "auto" and config.plan.compile is None:
            plan = replace(plan, **WAYS[_fastest(module, plan)])
    return _apply(module, plan)


def _apply(module: Any, plan: Plan) -> Plan:
    module.twin.undo_compile()
    if plan.compile:
        module.twin.compile_parts(plan.graphs)
    module.plan = plan
    return plan


def _fastest(module: Any, plan: Plan) -> str:
    times = {way: _tried(module, replace(plan, **change), way) for way, change in WAYS.items()}
    best = min(times, key=lambda way: times[way])
    if times[best] > WORTH * times["eager"]:
        best = "eager"
    said = ", ".join(f"{seconds * 1e3:.1f} ms {way}" for way, seconds in times.items() if seconds < math.inf)
    log.info("trial of a batch: %s: %s", said or "nothing worked", best)
    return best


def _kernel(module: Any, plan: Plan) -> str:
    """The installed softmax kernel, if it works, agrees with the chunked reference and is not slower."""
    chunked = replace(plan, softmax="chunked")
    times = [_tried(module, p, f"softmax={p.softmax}") for p in (plan, chunked)]
    apart = 0.0
    if times[0] < math.inf:
        values = []
        for p in (plan, chunked):
            module.plan = p
            torch.manual_seed(0)  # the same dropout
            values.append(float(module.loss(_users(module, 0), module.twin)))
        apart = abs(values[0] - values[1]) / max(abs(values[1]), 1e-9)
    apart = distributed.total(apart, plan.processes)
    kernel = plan.softmax if times[0] <= times[1] and apart < 0.02 * plan.processes else "chunked"
    log.info(
        "trial of the softmax: %.1f ms a batch %s, %.1f ms chunked, losses %.2g apart: %s",
        times[0] * 1e3, plan.softmax, times[1] * 1e3, apart, kernel,
    )  # fmt: skip
    return kernel


def _tried(module: Any, plan: Plan, way: str) -> float:
    """Seconds of a batch, summed over the processes; infinite where one of them failed."""
    try:
        _apply(module, plan)
        seconds = _seconds(module)
    except Exception as e:  # whatever it is, another way works
        log.warning("trial: %s failed (%s: %s) and is not used", way, type(e).__name__, str(e)[:200])
        module.twin.zero_grad(set_to_none=True)
        memory.release(module.device)
        seconds = math.inf
    return distributed.total(seconds, plan.processes)


def _seconds(module: Any) -> float:
    """Median seconds of forward and backward over the first batches, in the third round: CUDA graphs are recorded in
    the second. No gradient outlives its batch: what a replayed graph has given is overwritten by the next replay.
    """
    times: list[float] = []
    for _ in range(3):
        times.clear()
        for step in range(BATCHES):
            start = time.perf_counter()
            module.loss(_users(module, step), module.twin).backward()
            if module.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
            module.twin.zero_grad(set_to_none=True)
    return sorted(times)[BATCHES // 2]


def _users(module: Any, step: int) -> Any:
    return module.users_of(step % module.n_batches)[: module.micro_batch]
