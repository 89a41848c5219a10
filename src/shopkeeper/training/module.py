"""The Lightning module: one optimizer step from flat arrays, validation at the end of an epoch.

Everything random is a pure function of (seed, step): no generator's state has to survive a kill.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from shopkeeper.errors import UserError
from shopkeeper.nn.network import SequenceNetwork
from shopkeeper.training.averaging import Average
from shopkeeper.training.batching.batches import Batch
from shopkeeper.training.config import Plan, Recipe
from shopkeeper.training.devices import distributed, memory
from shopkeeper.training.devices.batch_parallel import Shares, share_of
from shopkeeper.training.objective import Objective

NEGATIVES = 2**32 - 1  # stands for a rank in the seed of the negatives
RUNNING = ("loss", "positions", "labels", "seconds")  # what is added up over an epoch
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


class SequenceModule(pl.LightningModule):
    """Trains a network (`nn.network`) for an objective (`training.objective`), and knows of them what is said there."""

    network: SequenceNetwork

    def __init__(
        self,
        network: SequenceNetwork,
        objective: Objective,
        recipe: Recipe,
        plan: Plan,
        seed: int,
        *,
        epoch_batches: int | None = None,
        overfit_batches: int = 0,
        averaged: Sequence[int] = (),
        rank: int = 0,
        on_epoch: Callable[[dict[str, float], int], None] = lambda metrics, epoch: None,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.network, self.objective = network, objective
        self.recipe, self.plan, self.seed, self.rank = recipe, plan, seed, rank
        self.overfit_batches, self.on_epoch = overfit_batches, on_epoch
        full = -(-len(objective.length_U) // recipe.batch_size)
        self.n_batches = min(overfit_batches or full, epoch_batches or full, full)
        self.step = 0  # optimizer steps done; with the seed it determines everything random
        worst = math.inf if objective.lower_is_better else -math.inf
        self.best: dict[str, Any] = {"value": worst, "epoch": -1, "averaged": [], "weights": None}
        self.history: list[dict[str, float]] = []
        self.ended: Exception | None = None  # whoever was told of an epoch has ended the training
        self.identity: dict[str, Any] = {}  # what a checkpoint must agree with to be resumed
        self.micro_batch = plan.micro_batch
        self.average: Average | None = None
        if recipe.average != "none":
            named = averaged if recipe.average == "best" else ()
            way = "last" if recipe.average == "best" and objective.headline is None else recipe.average
            self.average = Average(network, way, recipe.average_decay, len(named) or recipe.average_epochs, named)
        self.shares = Shares(network, plan.cores, DTYPES[plan.precision])
        self._order: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))
        self._running = dict.fromkeys(RUNNING, 0.0)  # of the epoch so far
        self._clock: float | None = None  # when the epoch began
        self._loss_sum = torch.zeros(())

    @property
    def twin(self) -> Any:
        """The network as the first core runs it, rounded: what is compiled and tried."""
        return self.shares.twins[0]

    # data: the step number says which customers come next

    def train_dataloader(self) -> StepLoader:
        """Step numbers; `training_step` gathers the batch itself, on the device."""
        return StepLoader(self)

    def users_of(self, step: int) -> np.ndarray:
        """The customers of the global batch of a step."""
        epoch, i = divmod(step, self.n_batches)
        if self.overfit_batches:
            order = np.arange(len(self.objective.length_U))
        else:
            if self._order[0] != epoch:
                n = len(self.objective.length_U)
                self._order = (epoch, np.random.default_rng([self.seed, epoch]).permutation(n))
            order = self._order[1]
        return order[i * self.recipe.batch_size : (i + 1) * self.recipe.batch_size]

    # one step

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Gather, forward, backward and update, in micro-batches that add up to the same gradient."""
        if self._clock is None:
            self._clock = time.perf_counter() - self._running["seconds"]
            self._loss_sum = torch.tensor(self._running["loss"], dtype=torch.float64, device=self.device)
        users = self.users_of(self.step)
        positions, labels = (int(each[users].sum()) for each in (self.objective.length_U, self.objective.labels_U))
        optimizer: Any = self.optimizers()
        mine = share_of(users, self.objective.length_U, self.rank, self.plan.processes)
        loss = self.accumulate(mine, labels, optimizer)
        if self.plan.processes > 1:
            loss = distributed.sum_gradients(self.network, loss)
        self._loss_sum += loss
        if self.recipe.clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip, foreach=True)
        for group in optimizer.param_groups:
            group["lr"] = group["pace"] * self.learning_rate(self.step)
        optimizer.step()
        if self.average is not None:
            self.average.step()
        self._running["positions"] += positions
        self._running["labels"] += labels
        self.step += 1

    def accumulate(self, users: np.ndarray, labels: int, optimizer: torch.optim.Optimizer) -> Tensor:
        """Gradients of these customers' loss, divided by the labels of the global batch; gives the summed loss.

        Out of memory: half as many sequences at a time from now on, the same batch in all.
        """
        while True:
            optimizer.zero_grad(set_to_none=True)
            self.shares.begin([_mix(self.seed, self.step, self.rank, core) for core in range(self.plan.cores)])
            total = torch.zeros((), device=self.device)
            try:
                for first in range(0, len(users), self.micro_batch):
                    some = users[first : first + self.micro_batch]
                    total += self.shares.learn(partial(self.loss, scale=1 / labels), some, self.objective.length_U)
                return total * labels
            except (MemoryError, RuntimeError) as e:
                if not memory.is_out_of_memory(e):
                    raise
                beside = f"; the effective batch stays {self.recipe.batch_size}"
                self.micro_batch = memory.halve(min(self.micro_batch, len(users)), beside=beside)
                self.plan = replace(self.plan, micro_batch=self.micro_batch)
            memory.release(self.device)

    def loss(self, users: np.ndarray, network: Any, scale: float = 1.0) -> Tensor:
        """Summed loss of these customers at this step, times `scale`, by a twin of the network."""
        if self.plan.graphs:
            torch.compiler.cudagraph_mark_step_begin()
        epoch = self.step // self.n_batches
        batch = self.objective.show(users, self.plan, self.seed, epoch, self.device)
        drawn = _mix(self.seed, self.step, NEGATIVES)
        loss = self.objective.loss(self.encode(network, batch), batch, network, self.plan, scale, drawn)
        if self.recipe.item_l2:
            item_P = batch.item_P.masked_fill(batch.item_P == network.mask, 0)  # what is hidden has no item
            loss = loss + self.recipe.item_l2 * scale * network.item(item_P).square().sum()
        return loss

    def encode(self, network: Any, batch: Batch, last: Tensor | None = None) -> Tensor:
        """Vectors of a batch by a twin of the network, in the plan's precision: of all positions, or where `last` says;
        while a network with a mask learns, where items are hidden."""
        x_PD = network.embed(batch).to(self.shares.dtype)
        hidden = {"asked": batch.labelled_N} if network.mask and last is None else {}
        out: Tensor = network(x_PD, batch.layout.groups, self.plan.fused_attention, last, **hidden)
        return out

    def learning_rate(self, step: int) -> float:
        """Warm-up and decay, as a function of the step alone."""
        r = self.recipe
        scale = min(1.0, (step + 1) / r.warmup_steps) if r.warmup_steps else 1.0
        if r.decay == "cosine":
            scale *= 0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, step / (r.epochs * self.n_batches))))
        return r.lr * scale

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over float32 master weights; weight decay on matrices only; a pace for what is beside a term."""
        r, own = self.recipe, self.network.own
        term, pace = (set(), 1.0) if own is None else (set(own.parameters()), own.pace)
        groups: dict[tuple[bool, float], dict[str, Any]] = {}
        for p in self.network.parameters():
            matrix, own_pace = p.ndim > 1, 1.0 if p in term else pace
            decay = {} if matrix else {"weight_decay": 0.0}
            groups.setdefault((not matrix, own_pace), {"params": [], "pace": own_pace, **decay})["params"].append(p)
        ordered = [groups[key] for key in sorted(groups)]
        return torch.optim.AdamW(ordered, lr=r.lr, betas=(0.9, r.beta2), weight_decay=r.weight_decay, fused=True)

    def running(self) -> dict[str, float]:
        """Summed loss, positions and labels of all processes, and seconds since the epoch began (kills not counted)."""
        if self._clock is None:
            return dict(self._running)
        seconds = time.perf_counter() - self._clock
        return self._running | {"loss": float(self._loss_sum), "seconds": seconds}

    # end of an epoch

    def on_train_epoch_end(self) -> None:
        """Validate, keep the best weights, report."""
        epoch, now = self.step // self.n_batches, self.running()
        loss = now["loss"] / max(now["labels"], 1)
        if not math.isfinite(loss):
            raise UserError(
                f"the loss of epoch {epoch} is {loss}: training has come apart; choose a smaller model.lr than "
                f"{self.recipe.lr:g}, or a limit for the gradient (model.clip=1)"
            )
        metrics = {"loss": loss, "seconds": now["seconds"], "events_per_s": now["positions"] / now["seconds"]}
        self._clock, self._running = None, dict.fromkeys(RUNNING, 0.0)
        due = epoch % self.recipe.validate_every == 0
        headline = self.objective.headline
        if self.average is not None:
            self.average.epoch(epoch)
        if headline is not None and due:
            started = time.perf_counter()
            with self.averaged():
                metrics |= self.validate()
                metrics["validation_seconds"] = time.perf_counter() - started
                self._keep_better(metrics[headline], epoch)
            lower, average = self.objective.lower_is_better, self.average
            if average is not None and average.validated(epoch, metrics[headline], lower):
                with average.in_place():
                    metrics["averaged"] = self.validate()[headline]
                    self._keep_better(metrics["averaged"], epoch, sorted(average.numbers))
                metrics["validation_seconds"] = time.perf_counter() - started
            self.log(headline, metrics[headline], logger=False)  # for `trainer.Patience`
        self.history.append({"epoch": epoch, **metrics})
        try:
            self.on_epoch(metrics, epoch)
        except Exception as e:
            if not self.trainer.checkpoint_callbacks:
                raise
            self.ended = e  # `Resumable` saves first: a search's trial that waits goes on from here

    def _keep_better(self, value: float, epoch: int, averaged: Sequence[int] = ()) -> None:
        gain = value - self.best["value"]
        if (gain < 0) if self.objective.lower_is_better else (gain > 0):
            self.best = {"value": value, "epoch": epoch, "averaged": [*averaged], "weights": self.weights()}

    @property
    def rises(self) -> bool:
        """Whether the newest validation is better than all others since the best one, of which there must be some."""
        values = [row[h] for row in self.history[self.best["epoch"] :] if (h := self.objective.headline) in row]
        if len(values) < 2:
            return False
        *others, newest = values
        return bool(newest < min(others) if self.objective.lower_is_better else newest > max(others))

    def validate(self) -> dict[str, float]:
        """The objective's figures on validation requests; fewer of them at a time from now on where memory runs out."""
        self.shares.refresh()
        for twin in self.shares.twins:
            twin.eval()  # `Shares.begin` sets it back
        while True:
            try:
                return dict(
                    self.objective.measure(
                        lambda core, batch: self.encode(self.shares.twins[core], batch, batch.layout.last_B),
                        self.network,
                        self.shares.cores,
                        self.rank,
                        self.plan.processes,
                    )
                )
            except (MemoryError, RuntimeError) as e:
                if not memory.is_out_of_memory(e):
                    raise
                self.objective.fewer()
            memory.release(self.device)

    def averaged(self) -> AbstractContextManager[None]:
        """The network with the weights that are validated and kept: averages where the recipe has them."""
        return nullcontext() if self.average is None or self.average.way == "best" else self.average.in_place()

    def weights(self) -> dict[str, Tensor]:
        """A copy of the weights on the CPU."""
        return {k: v.detach().to("cpu", copy=True) for k, v in self.network.state_dict().items()}

    # what a checkpoint holds beyond Lightning's own

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add our counters, the best weights and the history."""
        state = {"step": self.step, "best": self.best, "history": self.history, "running": self.running()}
        if self.average is not None:
            state["average"] = self.average.state()
        checkpoint["shopkeeper"] = state
        checkpoint["identity"], checkpoint["plan"] = self.identity, self.plan.to_json()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them back."""
        state = checkpoint["shopkeeper"]
        self.step, self.best, self.history = state["step"], state["best"], state["history"]
        if self.average is not None:
            self.average.go_on_from(state["average"])
        self._running = {"labels": state["running"]["positions"]} | state["running"]  # older ones had as many


class StepLoader:
    """Yields the numbers of the steps that are left of an epoch."""

    def __init__(self, module: SequenceModule):
        self.module = module

    def __len__(self) -> int:
        return self.module.n_batches

    def __iter__(self) -> Iterator[int]:
        yield from range(self.module.step % self.module.n_batches, self.module.n_batches)

    def state_dict(self) -> dict[str, int]:
        """The position lies in the module's step."""
        return {"step": self.module.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Nothing to do: see `state_dict`."""


def _mix(seed: int, step: int, rank: int, core: int = 0) -> int:
    """One generator seed per (seed, step, rank, core)."""
    return int(np.random.SeedSequence([seed, step, rank, core]).generate_state(1, np.uint64)[0] >> np.uint64(1))
