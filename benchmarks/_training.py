"""What the benchmarks of training share: the peers' environments, the data as sequences, runs in processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
THREADS = 2
LENGTH = {"ml_1m": 200, "amazon_beauty": 50, "ml_100k": 200}
PEERS = {
    "rectools": ["rectools[torch]==0.19.0", "numpy<2", "pandas<3", "torch==2.13.0", "catboost==1.2.10"],
    "replay": ["replay-rec[torch]==0.22.0", "pandas<3", "polars<2", "torch==2.13.0"],
    "replay-compiled": [
        "replay-rec[torch]==0.22.0", "pandas<3", "polars<2", "torch==2.13.0", "openvino==2026.4.1", "onnx==1.23.2",
    ],
    "recbole": ["-r", str(ROOT / "requirements-recbole.txt")],
    "shap": ["shap==0.51.0", "lightgbm==4.7.0"],
    "lenskit": ["torch==2.13.0", "lenskit==2025.8.1"],
    "ranking": ["ranx==0.3.21", "ir_measures==0.4.3", "pytrec_eval-terrier==0.5.11", "implicit==0.7.3"],
    "cornac": ["cornac==2.2.2", "numpy<2"],  # 2.3.0 asks for a newer libstdc++ than its wheel says
}  # fmt: skip


def environment(peer: str) -> Path | None:
    """The Python of the peer's own environment, made where it is missing; None where it cannot be had."""
    python = ROOT / f".venv-{peer}" / "bin" / "python"
    if not python.is_file():
        made = subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=False).returncode == 0
        pip = [str(python), "-m", "pip", "install", "-q", *PEERS[peer]]
        if not made or subprocess.run(pip, check=False).returncode:
            return None
    return python


def prepare(dataset: str, folder: Path) -> Path:
    """Prepare the data set as the pipeline does; its training rows and its whole log as sequences for the peers."""
    from shopkeeper.data.prepared import Prepared
    from shopkeeper.data.split import Split

    command = [sys.executable, "prepare.py", f"dataset={dataset}", "split=leave_one_out"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    prepared = Prepared.open(ROOT / "data" / "prepared" / dataset)
    split = Split.named(prepared, next((prepared.path / "splits").glob("leave_one_out-*")).name)
    offsets, rows = split.training_rows()
    np.savez(folder / f"{dataset}-train.npz", offsets=offsets, item=prepared.events.item[rows])
    np.savez(folder / f"{dataset}-all.npz", offsets=prepared.offsets, item=prepared.events.item)
    return split.path


def child(arguments: list[str], limit_s: float) -> dict | str:
    """Run a system in its own process; its last line as JSON, or why there is none."""
    env = os.environ | {"OMP_NUM_THREADS": str(THREADS), "OMP_WAIT_POLICY": "PASSIVE"}
    try:
        done = subprocess.run(arguments, env=env, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        return f"stopped after {limit_s:.0f} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no message"])[-1][:300]
    result: dict = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def peer(name: str, dataset: str, folder: Path, options: dict, limit_s: float) -> dict | str:
    """One training of a peer on what `prepare` left in `folder`."""
    python = environment(name)
    if python is None:
        return "its environment could not be made"
    part = "all" if name == "recbole" else "train"
    script = str(Path(__file__).with_name("train_peers.py"))
    words = json.dumps({"max_length": LENGTH[dataset], "threads": THREADS, **options})
    return child([str(python), script, name, str(folder / f"{dataset}-{part}.npz"), words], limit_s)
