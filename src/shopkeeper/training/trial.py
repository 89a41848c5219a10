"""A short trial of torch.compile: a few batches with it and without; the faster way is taken and said in the log."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

import torch

from shopkeeper.training.config import Plan, TrainerConfig

log = logging.getLogger(__name__)
BATCHES = 4
WORTH = 0.9  # compiled must take at most this share of the time: it costs a minute to begin with


def settle(module: Any, config: TrainerConfig) -> Plan:
    """The module's plan with `compile` decided; the network is compiled where the plan says so.

    `auto` tries on CUDA; on CPU it stays off: there the time goes into matrix products and softmax, which compiling
    does not change, and it needs a C++ compiler.
    """
    plan: Plan = module.plan
    if config.compile == "auto" and "compile" not in config.plan and plan.device == "cuda":
        eager = _seconds(module)
        try:
            module.network.compile_parts()
            compiled = _seconds(module)
        except Exception as e:  # no compiler, an unsupported card: whatever it is, eager works
            log.warning("trial of torch.compile failed (%s: %s): not compiled", type(e).__name__, str(e)[:200])
            module.network.undo_compile()
            return replace(plan, compile=False)
        chosen = compiled < WORTH * eager
        log.info(
            "trial: %.1f ms a batch eager, %.1f ms compiled: %s",
            eager * 1e3,
            compiled * 1e3,
            "compiled" if chosen else "not compiled",
        )
        if not chosen:
            module.network.undo_compile()
        return replace(plan, compile=chosen)
    if plan.compile:
        module.network.compile_parts()
    return plan


def _seconds(module: Any) -> float:
    """Median seconds of forward and backward over the first batches, after one that is not counted."""
    times = []
    for step in range(BATCHES + 1):
        users = module.users_of(step % module.n_batches)[: module.micro_batch]
        start = time.perf_counter()
        module.loss(users, 1.0).backward()
        if module.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    module.network.zero_grad(set_to_none=True)
    return sorted(times[1:])[BATCHES // 2]
