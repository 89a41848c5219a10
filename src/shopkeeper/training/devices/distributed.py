"""Data parallel training: one process per device, the same global batch, sums of gradients and gathered rows.

`train` in the parent writes a `room` (spec.json, start.safetensors), starts the workers, follows their history and
reads what they leave (result.json, result.safetensors). Nothing is pickled between processes.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist

from shopkeeper.errors import UserError
from shopkeeper.locks import Held, is_held

log = logging.getLogger(__name__)
PREFIX = "shopkeeper-ddp-"
PATIENCE_SECONDS = 20  # for the last step: whoever sends SIGTERM often sends SIGKILL half a minute later


def sum_gradients(network: torch.nn.Module, loss: torch.Tensor) -> torch.Tensor:
    """Add up the gradients of all processes, in one message, and the loss, which is given back."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    gradients = [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters]
    flat = torch.cat([*gradients, loss.reshape(1)])
    dist.all_reduce(flat)
    *parts, total_loss = flat.split([*(p.numel() for p in parameters), 1])
    for p, part in zip(parameters, parts, strict=True):
        p.grad = part.view_as(p)
    return total_loss[0]


def total(value: float, processes: int) -> float:
    """Sum over processes."""
    if processes == 1:
        return value
    tensor = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(tensor)
    return float(tensor)


def join(folder: Path, rank: int, processes: int, device: torch.device) -> None:
    """Become process `rank` of the group; the processes meet through a file in `folder`."""
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    store = dist.FileStore(str(folder / "store"), processes)
    dist.init_process_group(backend, store=store, rank=rank, world_size=processes)


@contextmanager
def room() -> Iterator[Path]:
    """A temporary folder for the processes of one training, which is held as long as it goes on, and gone at the end.

    What a killed training has left goes first: its processes remove it, unless it was killed before it had any.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if any(left.glob("*")) and not is_held(left):  # an empty one may be about to be held
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        held = Held(Path(name))
        yield held.path


def launch(folder: Path, processes: int, on_epoch: Callable[[Mapping[str, float], int], None]) -> None:
    """Run the workers on `folder/spec.json` until all have ended; a worker's failure ends them all and is reported.

    Their stdin is a pipe that closes when this process ends, and they end with it. When this process is asked to end,
    one byte in the pipe asks process 0 to save after its step; signals are nothing to them.
    """
    threads = max(torch.get_num_threads() // processes, 1)
    env = os.environ | {"OMP_NUM_THREADS": str(threads)}
    workers = []
    for rank in range(processes):
        command = [sys.executable, "-m", "shopkeeper.training.devices.worker", str(folder), str(rank)]
        errors = None if rank == 0 else open(folder / f"stderr-{rank}", "wb")  # noqa: SIM115 (closed with the worker)
        workers.append(subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stderr=errors))
    history = _Lines(folder / "history.jsonl")
    warnings = {rank: _Lines(folder / f"warnings-{rank}") for rank in range(1, processes)}

    def tell() -> None:
        for line in history.new():
            row = json.loads(line)
            on_epoch(row["metrics"], row["epoch"])
        for rank, lines in warnings.items():
            for line in lines.new():
                log.warning("training process %s: %s", rank, line)

    try:
        while True:
            tell()
            codes = [w.poll() for w in workers]
            if any(code not in (None, 0) for code in codes):
                tell()
                raise UserError(_failure(folder, codes))
            if all(code == 0 for code in codes):
                tell()
                return
            time.sleep(0.05)
    except KeyboardInterrupt:
        _save_and_end(workers[0])
        raise
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
            assert worker.stdin is not None
            worker.stdin.close()


def _save_and_end(worker: subprocess.Popen[bytes]) -> None:
    """Have process 0 write a checkpoint; one that does not come to it in time leaves the last one."""
    assert worker.stdin is not None
    try:
        worker.stdin.write(b"s")
        worker.stdin.flush()
        worker.wait(timeout=PATIENCE_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        pass


class _Lines:
    """The lines of a file that is being written, each once."""

    def __init__(self, path: Path):
        self.path, self.told = path, 0

    def new(self) -> list[str]:
        """Those that have come since the last call."""
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True) if self.path.is_file() else []
        new = [line.rstrip("\n") for line in lines[self.told :] if line.endswith("\n")]
        self.told += len(new)
        return new


def _failure(folder: Path, codes: list[int | None]) -> str:
    for rank, code in enumerate(codes):
        message = folder / f"error-{rank}.txt"
        if code not in (None, 0) and message.is_file():
            return message.read_text().strip()
    rank = next(r for r, code in enumerate(codes) if code not in (None, 0))
    log = folder / f"stderr-{rank}"
    tail = log.read_text(errors="replace").strip().splitlines()[-1:] if log.is_file() else []
    return f"training process {rank} ended with exit code {codes[rank]} {' '.join(tail)}".strip() + (
        "; run again to go on from the last checkpoint"
    )
