"""`train`: from a network and an objective to the best weights. What the `fit` of a sequence model calls."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from shopkeeper.errors import UserError
from shopkeeper.files import read_json, remove_made, write_json
from shopkeeper.nn.network import SequenceNetwork
from shopkeeper.training.checkpoint import SafeCheckpointIO
from shopkeeper.training.config import Plan, Recipe, TrainerConfig
from shopkeeper.training.devices import distributed, execution, memory
from shopkeeper.training.devices.autotune import settle
from shopkeeper.training.module import SequenceModule
from shopkeeper.training.objective import Objective
from shopkeeper.training.resume import find_checkpoint, identity_of
from shopkeeper.training.trainer import fit_with, trainer_of

log = logging.getLogger(__name__)
OnEpoch = Callable[[Mapping[str, float], int], None]


@dataclass
class Trained:
    """What a training run ends with; the network holds the best weights."""

    plan: Plan
    history: list[dict[str, float]]  # one row per epoch: loss, seconds, events_per_s, ndcg@10, …
    best_epoch: int  # from 1; the last one where nothing was validated
    best_value: float  # of the headline, NaN where nothing was validated
    last_weights: dict[str, torch.Tensor]
    headline: str = "ndcg@10"
    averaged: tuple[int, ...] = ()  # epochs whose mean the best weights are (average=best); none: of one epoch

    def summary(self) -> dict[str, Any]:
        """What a run folder keeps of it: `plan` can be given to `trainer.plan` again."""
        best = None if math.isnan(self.best_value) else self.best_value
        return {
            "plan": self.plan.to_json(),
            "best_epoch": self.best_epoch,
            f"best_{self.headline}": best,
            **({"averaged": [*self.averaged]} if self.averaged else {}),
            "history": self.history,
        }


def train(
    network: SequenceNetwork,
    objective: Objective,
    *,
    recipe: Recipe,
    config: TrainerConfig,
    seed: int,
    identity: Mapping[str, Any],
    folder: Path | None = None,
    progress: bool = True,
    on_epoch: OnEpoch = lambda metrics, epoch: None,
) -> Trained:
    """Train until the headline has not got better for `recipe.patience` validations; leave the best weights in place.

    With `trainer.devices` > 1 that many processes work on each batch. Arguments: see `train_here`.
    """
    if config.devices == 1:
        return train_here(
            network,
            objective,
            recipe=recipe,
            config=config,
            seed=seed,
            identity=identity,
            folder=folder,
            progress=progress,
            on_epoch=on_epoch,
        )
    with distributed.room() as room:
        start = {k: v.contiguous() for k, v in network.state_dict().items()}
        arrays = {f"#{k}": torch.from_numpy(v) for k, v in objective.arrays().items()}
        save_file(start | arrays, room / "start.safetensors")
        spec = {
            "network": _name_of(network),
            "shape_class": _name_of(network.shape),
            "shape": asdict(network.shape),
            "beside": network.beside,
            "objective": _name_of(objective),
            "told": objective.told(),
            "recipe": asdict(recipe),
            "config": config.to_json(),
            "folder": None if folder is None else str(Path(folder).resolve()),
            "progress": progress,
            "seed": seed,
            "identity": dict(identity),
        }
        write_json(room / "spec.json", spec)
        distributed.launch(room, config.devices, on_epoch)
        result, tensors = read_json(room / "result.json"), load_file(room / "result.safetensors")
    network.load_state_dict({k[5:]: v for k, v in tensors.items() if k.startswith("best.")})
    network.eval()
    last = {k[5:]: v for k, v in tensors.items() if k.startswith("last.")}
    value, averaged = float(result["value"]), tuple(result["averaged"])
    of = (result["history"], result["epoch"], value, last, result["headline"], averaged)
    return Trained(Plan.of(result["plan"]), *of)


def _name_of(thing: Any) -> str:
    return f"{type(thing).__module__}.{type(thing).__name__}"


def train_here(
    network: SequenceNetwork,
    objective: Objective,
    *,
    recipe: Recipe,
    config: TrainerConfig,
    seed: int,
    identity: Mapping[str, Any],
    folder: Path | None = None,
    progress: bool = True,
    on_epoch: OnEpoch = lambda metrics, epoch: None,
    rank: int = 0,
) -> Trained:
    """Train in this process, as `rank` of `config.devices`.

    With `folder`, checkpoints lie in `folder/checkpoint` and a killed run goes on from the newest good one. `identity`
    is what must agree for that, beside what the objective asks: a checkpoint of another configuration is a `UserError`.
    """
    if config.max_epochs:
        recipe = replace(recipe, epochs=config.max_epochs)
    device = execution.device_of(config, rank)
    if config.threads:
        torch.set_num_threads(config.threads)
    if device.type == "cpu":
        memory.keep_freed()
    with ExitStack() as stack:
        stack.enter_context(memory.said())
        spill = None
        if config.resident == "mapped" or (
            config.resident == "auto" and not _fits_memory(objective.rows, config, network)
        ):
            spill = _room_for_files(folder, rank, stack)
            log.info("the training rows are streamed from files in %s", spill)
        objective.open(network, recipe, spill)
        identity = identity_of({**identity, **objective.identity()}, recipe, config, seed)
        checkpoint = find_checkpoint(folder, config, identity, recipe.epochs)
        plan = _plan(config, checkpoint, objective, network, recipe, device, spilled=spill is not None)
        if plan.device == "cpu" and not config.threads:
            torch.set_num_threads(plan.threads)  # sums of a resumed run in the order of the first
        _check_memory(config, plan, objective, network, device)
        objective.ready(network, plan, device, 0 if config.overfit_batches else config.validation_requests)
        module = SequenceModule(
            network,
            objective,
            recipe,
            plan,
            seed,
            epoch_batches=config.max_batches,
            overfit_batches=config.overfit_batches,
            averaged=config.averaged or (),
            rank=rank,
            on_epoch=on_epoch,
        )
        stack.callback(module.shares.cores.close)
        module.identity = identity
        if checkpoint is None or plan.compile:
            module.to(device)
            module.plan = settle(module, config, resumed=checkpoint is not None)
        trainer = trainer_of(module, config, device, folder, progress, afresh=checkpoint is None)
        fit_with(trainer, module, checkpoint)
    if rank == 0:
        log.info("%s", ended(module))
    last = module.weights()
    with module.averaged():
        kept = module.weights() if module.best["weights"] is None else module.best["weights"]
    network.load_state_dict(kept)
    network.undo_compile()  # in float32 it is its own twin; a copy would go on with the parts of this one
    network.to("cpu").eval()
    validated = module.best["epoch"] >= 0
    epoch = module.best["epoch"] if validated else len(module.history)
    value = module.best["value"] if validated else math.nan
    headline, averaged = objective.headline or Trained.headline, tuple(module.best["averaged"])
    return Trained(module.plan, module.history, epoch, value, last, headline, averaged)


def ended(module: SequenceModule) -> str:
    """How many of how many epochs were trained, and what ended them."""
    done, most, headline = len(module.history), module.recipe.epochs, module.objective.headline
    if headline is None or module.best["epoch"] < 0:
        return f"trained {done} of {most} epochs"
    waited = sum(headline in row for row in module.history[module.best["epoch"] :])
    why = f"no better {headline} in {waited} validations" if done < most else "the limit"
    return f"trained {done} of at most {most} epochs, ended by {why}; the best is epoch {module.best['epoch']}"


def _room_for_files(folder: Path | None, rank: int, stack: ExitStack) -> Path:
    """Beside the checkpoints, where there are any: a temporary folder may lie in memory. Gone at the end."""
    if folder is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shopkeeper-view-")))
    stack.callback(remove_made, place := Path(folder) / f".view-{rank}", "*")
    return place


def _fits_memory(rows: int, config: TrainerConfig, network: SequenceNetwork) -> bool:
    """Whether the flat arrays of so many rows, at most 17 bytes each and what else is read of them, twice that while
    they are made, fit into memory."""
    beside = {"age": 8, "since": 8, "until": 8, "price": 4, "channel": 2}
    each = 17 + sum(beside.get(name, 0) for name in network.reads)
    cpu = torch.device("cpu")
    return 2 * each * rows < min(memory.room(config, cpu), memory.available(cpu) // config.devices)


def _plan(
    config: TrainerConfig,
    checkpoint: Path | None,
    objective: Objective,
    network: SequenceNetwork,
    recipe: Recipe,
    device: torch.device,
    spilled: bool,
) -> Plan:
    if checkpoint is not None:
        plan = Plan.of(SafeCheckpointIO().load_checkpoint(checkpoint)["plan"])
        log.info("going on from %s with the execution plan stored there", checkpoint)
        if plan.device != device.type:
            raise UserError(
                f"{checkpoint} was trained on {plan.device}, this machine offers {device.type}: the numbers would "
                f"differ; use trainer={plan.device} or start over with trainer.resume=false"
            )
        if config.micro_batch and config.micro_batch < plan.micro_batch:  # memory ran out, or there is less of it now
            log.info("%d sequences at a time, not %d as stored there", config.micro_batch, plan.micro_batch)
            plan = replace(plan, micro_batch=config.micro_batch)
        resident = plan.resident and config.resident != "mapped"
        return replace(plan, processes=config.devices, resident=resident)
    fits = objective.bytes < memory.available(device) // 2 and not (spilled and device.type == "cpu")
    length = float(objective.length_U.mean())
    plan = execution.choose(
        config,
        device=device,
        n_classes=objective.n_classes,
        max_length=network.shape.max_length,
        batch_size=recipe.batch_size,
        resident=config.resident == "device" or (config.resident == "auto" and fits),
        work=execution.work_of(network, objective.negatives or objective.n_classes, recipe.batch_size * length),
    )
    each = network.activation_bytes(memory.value_bytes(plan), plan.fused_attention)
    plan = execution.within(plan, config, each * length)
    log.info("execution plan: %s", ", ".join(f"{k}={v}" for k, v in plan.to_json().items() if k != "edges"))
    return plan


def _check_memory(
    config: TrainerConfig, plan: Plan, objective: Objective, network: SequenceNetwork, device: torch.device
) -> None:
    estimate = memory.estimate_memory(
        data_bytes=objective.bytes,
        n_parameters=sum(p.numel() for p in network.parameters()),
        n_classes=objective.n_classes,
        width=network.shape.width,
        activations=network.activation_bytes(memory.value_bytes(plan), plan.fused_attention),
        length=float(objective.length_U.mean()),
        plan=plan,
        negatives=objective.negatives,
    )
    log.info("memory: training takes about %s", estimate)
    memory.refuse_if_too_big(estimate, memory.room(config, device))
