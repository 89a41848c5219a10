"""`python -m shopkeeper doctor`: what this machine has, and how fast the training loop runs on it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from shopkeeper.pipeline.shell.terminal import coloured

PACKAGES = (
    "shopkeeper", "torch", "pytorch-lightning", "numpy", "pyarrow", "polars", "duckdb", "hydra-core", "dvc", "mlflow",
    "optuna", "scikit-learn", "lightgbm", "onnxruntime", "pyspark",
)  # fmt: skip
MISSING = "not installed"
NEEDED = {  # by extra of pyproject.toml
    "prepare": ("pyarrow", "polars", "duckdb"), "train": ("torch", "pytorch-lightning", "hydra-core"),
    "tabular": ("scikit-learn", "lightgbm"), "track": ("mlflow",), "tune": ("optuna",), "serving": ("onnxruntime",),
    "spark": ("pyspark",),
}  # fmt: skip
DOES = {
    "prepare": "preparing", "train": "training networks", "tabular": "customer models", "track": "MLflow",
    "tune": "tuning", "serving": "answering from ONNX graphs", "spark": "Spark",
}  # fmt: skip
LEAST_FREE = 2.0  # GiB


def print_doctor(seconds: float = 10.0) -> None:
    """Print versions, cores, BLAS, bf16 support, GPUs, free disk, and the events/s that training can expect here."""
    found = facts()
    for name, value in found.items():
        print(f"{name:<22} {value}")
    if seconds > 0:
        print(f"{'training loop':<22} {loop_check(seconds)}")
    print()
    for line in verdict(found):
        print(line)


def verdict(found: Mapping[str, str]) -> list[str]:
    """What works here and what does not, with the command that installs what is missing."""
    missing = {extra: [p for p in packages if found[p] == MISSING] for extra, packages in NEEDED.items()}
    lines = []
    for extra, packages in missing.items():
        if packages:
            does, some = DOES[extra], ", ".join(packages)
            lines.append(f'{coloured("missing", "red")}: {does} needs {some}: pip install "shopkeeper[{extra}]"')
    free = float(found["free disk"].partition(" ")[0])
    if free < LEAST_FREE:
        lines.append(
            f"{coloured('little disk', 'red')}: {found['free disk']} are free; a run keeps its checkpoints here"
        )
    works = [does for extra, does in DOES.items() if not missing[extra]]
    good = f"{coloured('good', 'green')}: {', '.join(works)} work here" if works else "nothing works here yet"
    return [*lines, f"{good}; {_speed(found)}"]


def _speed(found: Mapping[str, str]) -> str:
    gpus = found.get("GPUs", "none")
    return "networks train on the processor" if gpus in ("none", "-") else f"networks train on {gpus}"


def facts() -> dict[str, str]:
    """Name -> what was found, in the order in which it is printed."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.release()}"}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = MISSING
    found["processor"] = _processor()
    found["cores"] = f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}"
    found["memory"] = _memory()
    found["free disk"] = f"{shutil.disk_usage(Path.cwd()).free / 2**30:.0f} GiB"
    found.update(_torch_facts())
    return found


def _torch_facts() -> dict[str, str]:
    try:
        import torch
    except ImportError:
        return {"torch threads": "torch is not installed: pip install 'shopkeeper[train]'"}
    cpu = torch.backends.cpu.get_cpu_capability()
    flags = _cpu_flags()
    gpus = [
        f"{torch.cuda.get_device_name(i)} ({torch.cuda.get_device_properties(i).total_memory / 2**30:.0f} GiB)"
        for i in range(torch.cuda.device_count())
    ]
    units = flags & {"avx512_bf16", "amx_bf16"}
    return {
        "torch threads": str(torch.get_num_threads()),
        "BLAS": "MKL" if torch.backends.mkl.is_available() else "OpenBLAS or other",
        "oneDNN": "yes" if torch.backends.mkldnn.is_available() else "no",
        "vector instructions": cpu,
        "bf16 on the CPU": "in hardware, taken by large networks" if units else "emulated: fp32 is faster",
        "GPUs": ", ".join(gpus) or "none",
        "bf16 on the GPU": ("yes" if torch.cuda.is_bf16_supported() else "no") if gpus else "-",
    }


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (ValueError, OSError):
        return "unknown"


def loop_check(seconds: float) -> str:
    """Train SASRec on made-up sequences for about `seconds` and say how many events a second it sees."""
    try:
        from shopkeeper.training.devices.speed_check import events_per_second
    except ImportError as e:
        return f"not run ({e}); pip install 'shopkeeper[train]'"
    result: dict[str, Any] = events_per_second(seconds)
    return (
        f"{result['events_per_second']:,.0f} events/s (SASRec, width {result['width']}, {result['blocks']} blocks, "
        f"{result['items']:,} items, {result['mean_length']:.0f} events a customer, at most {result['max_length']}, "
        f"{result['device']}, {result['precision']}, softmax {result['softmax']}; longer histories give more)"
    )
