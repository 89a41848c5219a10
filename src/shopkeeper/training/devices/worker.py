"""One process of a data parallel training: `python -m shopkeeper.training.devices.worker FOLDER RANK`.

Started by `distributed.launch`.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.distributed as dist
from safetensors.torch import load_file, save_file

from shopkeeper import stopping
from shopkeeper.errors import UserError
from shopkeeper.files import remove_made, write_json
from shopkeeper.training.config import Recipe, TrainerConfig
from shopkeeper.training.devices import distributed, execution
from shopkeeper.training.fit import train_here


def main(folder: Path, rank: int) -> None:
    """Train as process `rank`; process 0 writes the history while it trains and the result at the end."""
    spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    start = load_file(folder / "start.safetensors")
    arrays = {name[1:]: start.pop(name).numpy() for name in [*start] if name.startswith("#")}
    network = _class(spec["network"])(_class(spec["shape_class"])(**spec["shape"]))
    network.put_beside(spec["beside"])
    objective = _class(spec["objective"]).made_again(spec["told"], arrays)
    objective.furnish(network)
    network.load_state_dict(start)
    config = TrainerConfig.of(spec["config"])
    distributed.join(folder, rank, config.devices, execution.device_of(config, rank))

    def tell(metrics: Mapping[str, float], epoch: int) -> None:
        with open(folder / "history.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"metrics": dict(metrics), "epoch": epoch}) + "\n")

    trained = train_here(
        network,
        objective,
        recipe=Recipe(**spec["recipe"]),
        config=config,
        seed=spec["seed"],
        identity=spec["identity"],
        folder=None if spec["folder"] is None else Path(spec["folder"]),
        progress=spec["progress"] and rank == 0,
        on_epoch=tell if rank == 0 else lambda metrics, epoch: None,
        rank=rank,
    )
    if rank == 0:
        weights = {f"best.{k}": v.contiguous() for k, v in network.state_dict().items()}
        weights |= {f"last.{k}": v for k, v in trained.last_weights.items()}
        save_file(weights, folder / "result.safetensors")
        result = {"plan": trained.plan.to_json(), "history": trained.history, "headline": trained.headline}
        best = {"epoch": trained.best_epoch, "value": str(trained.best_value), "averaged": [*trained.averaged]}
        write_json(folder / "result.json", result | best)
    dist.barrier()
    dist.destroy_process_group()


def _class(name: str) -> Any:
    """What the parent process has named, which wrote the file a moment ago and has it imported itself."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def end_with_parent(folder: Path) -> None:
    """End when the parent is gone, however it ended: the system then closes the pipe that is this process' stdin.

    A worker that went on would delete the checkpoints that the next training reads. A byte in the pipe asks for a
    checkpoint after this step.
    """
    while os.read(0, 1):
        stopping.note(signal.SIGTERM)
    if (folder / "spec.json").is_file():
        remove_made(folder, "*")
    os._exit(1)


if __name__ == "__main__":
    place, own = Path(sys.argv[1]), int(sys.argv[2])
    for number in stopping.ENDING:  # a terminal and some clusters send them to all processes: the parent decides
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, args=[place], daemon=True).start()
    if own == 0:
        logging.basicConfig(level=logging.INFO, format="%(message)s")
    else:  # what process 0 cannot know, e.g. that memory ran out here: the parent says it
        logging.basicConfig(level=logging.WARNING, format="%(message)s", filename=place / f"warnings-{own}")
    try:
        main(place, own)
    except UserError as e:
        (place / f"error-{own}.txt").write_text(str(e), encoding="utf-8")
        sys.exit(1)
    except stopping.Stopped as e:
        os._exit(stopping.exit_code(e))  # the others wait for this process' share: the parent ends them
