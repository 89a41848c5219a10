"""The execution plan: device, precision, buckets, chunk sizes; what a person may set by hand and what is chosen."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import replace

import torch

from shopkeeper.errors import UserError
from shopkeeper.nn.network import SequenceNetwork
from shopkeeper.nn.softmax import chunk_rows
from shopkeeper.training.batching.layout import DEFAULT_EDGES
from shopkeeper.training.config import Plan, TrainerConfig
from shopkeeper.training.devices.autotune import PAD

log = logging.getLogger(__name__)
KERNELS = {"cut_cross_entropy": "cut_cross_entropy", "liger": "liger_kernel"}  # of the softmax, their packages
MOST_CORES = 8  # shares of a batch; what a share's Python does, the others wait for
BF16_FROM = 5e8  # of `work_of`, on a CPU: less does not pay back the kernels that oneDNN makes, one for each new shape
KEPT_BYTES = 1 << 29  # of sequences at a time on a CPU: more of them are not faster, and the catalogue needs the room


def device_of(config: TrainerConfig, local_rank: int = 0) -> torch.device:
    """The device to train on; `accelerator=gpu` without one is a `UserError`."""
    if config.accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("trainer=gpu needs a CUDA device and none is visible; use trainer=auto or trainer=cpu")
    if config.accelerator != "cpu" and torch.cuda.is_available():
        if config.devices > (there := torch.cuda.device_count()):
            raise UserError(
                f"trainer.devices={config.devices} needs as many GPUs, and {there} can be seen; set "
                f"trainer.devices={there}, or trainer.accelerator=cpu for processes on the CPU"
            )
        return torch.device("cuda", local_rank)
    return torch.device("cpu")


def has_bf16(device: torch.device) -> bool:
    """Whether matrix products in bf16 run on the hardware's own units."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def work_of(network: SequenceNetwork, n_classes: int, positions: float) -> float:
    """Multiplications of a batch of so many positions, forwards, those of attention left out."""
    matrices = sum(p.numel() for name, p in network.named_parameters() if p.dim() > 1 and not network.in_table(name))
    return positions * (matrices + n_classes * network.shape.width)


def choose(
    config: TrainerConfig,
    *,
    device: torch.device,
    n_classes: int,
    max_length: int,
    batch_size: int,
    resident: bool,
    work: float,
) -> Plan:
    """The plan for this machine; fields of `config.plan` are taken as they are. `work`: see `work_of`."""
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if has_bf16(device) and (device.type == "cuda" or work >= BF16_FROM) else "fp32"
    cuda, threads = device.type == "cuda", config.threads or torch.get_num_threads()
    graphs = cuda and config.compile == "graphs"
    whole = config.compile in ("on", "graphs") or config.profiler  # profilers see one thread, and one twin is compiled
    plan = Plan(
        device=device.type,
        precision=precision,
        threads=threads,
        cores=1 if cuda or whole else min(threads, MOST_CORES),
        processes=config.devices,
        edges=edges_up_to(max_length),
        micro_batch=config.micro_batch or batch_size,
        chunk=chunk_rows(n_classes, 2 if precision == "bf16" else 4, device.type),
        softmax=_softmax_kernel() if cuda and precision == "bf16" else "chunked",
        fused_attention=cuda,
        compile=config.compile in ("on", "graphs"),
        graphs=graphs,
        pad=PAD if graphs else 1,
        resident=resident,
        deterministic=config.deterministic,
    )
    return _by_hand(plan, config)


def within(plan: Plan, config: TrainerConfig, kept: float) -> Plan:
    """The plan with no more sequences at a time than a CPU should hold; the batch stays, and its gradient.

    Args:
        plan: as `choose` gives it; one whose `micro_batch` was set by hand is left alone.
        config: what was set.
        kept: bytes that a sequence keeps for the backward pass.
    """
    if plan.device != "cpu" or config.micro_batch or config.plan.micro_batch:
        return plan
    n = plan.micro_batch
    while n > 1 and n * kept > KEPT_BYTES:
        n = -(-n // 2)
    return replace(plan, micro_batch=n)


def edges_up_to(max_length: int, edges: Sequence[int] = DEFAULT_EDGES) -> tuple[int, ...]:
    """Upper lengths of the buckets, the last one being `max_length`."""
    return (*(e for e in edges if e < max_length), max_length)


def _by_hand(plan: Plan, config: TrainerConfig) -> Plan:
    """The plan with what a person has set, be it another run's whole plan; a `UserError` for what is not here."""
    chosen = replace(replace(plan, **config.plan.given), processes=plan.processes)  # as many as trainer.devices says
    if chosen.device != plan.device:
        raise UserError(
            f"trainer.plan.device={chosen.device}, and training runs on the {plan.device} here: set "
            f"trainer.accelerator, or leave trainer.plan.device out"
        )
    package = KERNELS.get(chosen.softmax)
    if package and not importlib.util.find_spec(package):
        raise UserError(
            f"trainer.plan.softmax={chosen.softmax} needs {package}, which is not installed; install it, or choose "
            f"chunked"
        )
    return replace(chosen, edges=edges_up_to(plan.edges[-1], chosen.edges))


def _softmax_kernel() -> str:
    return next((kernel for kernel, module in KERNELS.items() if importlib.util.find_spec(module)), "chunked")
