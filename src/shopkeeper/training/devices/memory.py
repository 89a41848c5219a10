"""How much memory a training takes, what to change when it does not fit, and what to do when it runs out."""

from __future__ import annotations

import ctypes
import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from shopkeeper.errors import UserError
from shopkeeper.training.config import Plan, TrainerConfig

log = logging.getLogger(__name__)
GIB = 2**30
SMALLER = "a smaller model.max_length, model.width or trainer.plan={chunk: …}"
UNLIMITED = 2**62
PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a training holds at its peak, by what they are for."""

    data: int  # the flat arrays, where they are resident
    model: int  # float32 weights and their best copy
    optimizer: int  # gradients of each core, both moments
    activations: int  # of one micro-batch of sequences of the mean length, kept for the backward pass
    softmax: int  # one chunk of logits, the gradient of the item embeddings, their rounded copy

    @property
    def total(self) -> int:
        """All of it."""
        return self.data + self.model + self.optimizer + self.activations + self.softmax

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {_size(value)}" for name, value in vars(self).items())
        return f"{_size(self.total)} (of this {parts})"


def estimate_memory(
    *,
    data_bytes: int,
    n_parameters: int,
    n_classes: int,
    width: int,
    activations: float,
    length: float,
    plan: Plan,
    negatives: int = 0,
) -> MemoryEstimate:
    """Before training, from sizes alone. `activations`: bytes that are kept of a position (`network.activation_bytes`);
    `length`: mean positions of a sequence.

    `negatives`: drawn ones of a sampled loss, whose logits are held whole; 0: the full softmax.
    """
    value = value_bytes(plan)
    positions = plan.micro_batch * length
    kernel = plan.softmax == "chunked"
    cores = plan.cores  # a chunk, rounded embeddings and their gradient for each
    logits = min(cores * plan.chunk, positions) * n_classes * value if kernel else 0
    softmax = logits + cores * n_classes * width * (4 + 2 * value)
    if negatives:  # float32 logits, their copies for the backward pass, and the gradients of two look-ups
        softmax = positions * (negatives * (3 * 4 + value) + 2 * width * value) + (1 + cores) * 4 * n_classes * width
    return MemoryEstimate(
        data=data_bytes if plan.resident else 0,
        model=2 * 4 * n_parameters,
        optimizer=(2 + cores) * 4 * n_parameters,
        activations=int(positions * activations),
        softmax=int(softmax),
    )


def value_bytes(plan: Plan) -> int:
    """Bytes of one number of the network's arithmetic."""
    return 2 if plan.precision == "bf16" else 4


def available(device: torch.device) -> int:
    """Bytes that are free on the device: of the GPU, or of the machine and the container."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        fields = dict(line.split(":", 1) for line in (PROC / "meminfo").read_text().splitlines())
        return min(int(fields["MemAvailable"].split()[0]) * 1024, _left_to_group())
    except (OSError, KeyError, ValueError):
        return UNLIMITED  # not Linux: nothing is refused


def _left_to_group() -> int:
    """Bytes below the limit of this process's control group (v2 or v1) and of those above it: a container's limit."""
    groups = PROC / "self" / "cgroup"
    left = [UNLIMITED]
    for line in groups.read_text().splitlines() if groups.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, names = CGROUPS, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root, names = CGROUPS / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        steps = Path(path.lstrip("/")).parts
        left += [_below_limit(root.joinpath(*steps[:depth]), *names) for depth in range(len(steps) + 1)]
    return min(left)


def _below_limit(folder: Path, limit: str, used: str, cache: str) -> int:
    """Pages of files that nobody has looked at lately are given up before anything is refused."""
    try:
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return int((folder / limit).read_text()) - int((folder / used).read_text()) + int(stat[cache])
    except (OSError, KeyError, ValueError):  # there is no such group here, or its limit is "max"
        return UNLIMITED


def room(config: TrainerConfig, device: torch.device) -> int:
    """Bytes that this process may use: what is free, or what was set; on a CPU the processes share it."""
    free = available(device) if config.memory_gib is None else int(config.memory_gib * GIB)
    return free // config.devices if device.type == "cpu" else free


def refuse_if_too_big(estimate: MemoryEstimate, room: int) -> None:
    """A `UserError` that names the setting to change, where the estimate is beyond `room` bytes."""
    if estimate.total <= room:
        return
    remedy = {
        "data": "trainer.resident=mapped streams it from files",
        "model": "a smaller model.width, or rare items left out of the catalogue",
        "optimizer": "a smaller model.width, or rare items left out of the catalogue",
        "activations": "a smaller trainer.micro_batch (the effective batch stays) or model.max_length",
        "softmax": "a smaller trainer.plan={chunk: …}, model.width or (with drawn negatives) loss.negatives",
    }
    largest = max(remedy, key=lambda name: int(getattr(estimate, name)))
    raise UserError(
        f"training would take {estimate}, and {_size(room)} may be used: "
        f"the largest part is {largest}: {remedy[largest]}"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the device or the machine has no memory left."""
    text = str(error)
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        "not enough memory" in text or "can't allocate memory" in text or "CUDA out of memory" in text
    )


def halve(size: int, what: str = "sequence", beside: str = "") -> int:
    """The next smaller number of sequences (`what`) at a time, announced; a `UserError` when it is one already."""
    if size <= 1:
        raise UserError(f"out of memory with one {what} at a time; choose {SMALLER}")
    smaller = -(-size // 2)
    log.warning("out of memory: from now on %d %ss at a time instead of %d%s", smaller, what, size, beside)
    return smaller


@contextmanager
def said() -> Iterator[None]:
    """What does not fit, where nothing is halved, ends in a `UserError`."""
    try:
        yield
    except (MemoryError, RuntimeError) as e:
        if not is_out_of_memory(e):
            raise
        why = f" ({str(e).strip().splitlines()[0]})" if str(e).strip() else ""
        raise UserError(
            f"out of memory{why}; choose a smaller trainer.micro_batch, {SMALLER}, or trainer.resident=mapped"
        ) from e


def keep_freed() -> None:
    """Let the C library keep what tensors on the CPU have freed, for the next ones.

    glibc gives large blocks back to the system at once and gets them anew, page by page and zeroed: a tenth of the time
    of a step. This is for the whole process. Elsewhere than on glibc nothing is done.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    never, pad = 1 << 30, 32 << 20
    mallopt(M_MMAP_THRESHOLD, never)
    mallopt(M_TRIM_THRESHOLD, never)
    mallopt(M_TOP_PAD, pad)


def release(device: torch.device) -> None:
    """Give back what a failed step left behind."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _size(n: float) -> str:
    return f"{n / GIB:.2f} GiB" if n >= GIB / 10 else f"{n / 2**20:.1f} MiB"
