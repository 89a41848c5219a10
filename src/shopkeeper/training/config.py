"""What can be set about a training run: the recipe (in the model's config) and the trainer (conf/trainer/*.yaml)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from shopkeeper.errors import UserError, nearest
from shopkeeper.nn.losses import Loss


@dataclass(frozen=True)
class Recipe:
    """How the weights are found. Everything here may change what is learned."""

    loss: Loss = field(default_factory=Loss)
    lr: float = 1e-3
    weight_decay: float = 0.0
    beta2: float = 0.98
    warmup_steps: int = 0  # linear from 0
    decay: str = "constant"  # constant | cosine (to a tenth of lr at the last epoch)
    clip: float = 0.0  # largest norm of the gradient; 0: no limit
    batch_size: int = 128  # sequences
    epochs: int = 200  # the limit; training stops by patience before it
    patience: int = 10  # validations without a better NDCG@10; 0: all epochs
    validate_every: int = 1  # epochs

    def __post_init__(self) -> None:
        object.__setattr__(self, "loss", Loss.of(self.loss))
        for name in ("lr", "batch_size", "epochs", "validate_every"):
            if getattr(self, name) <= 0:
                raise UserError(f"{name}={getattr(self, name)} must be above 0")
        for name in ("weight_decay", "warmup_steps", "clip", "patience"):
            if getattr(self, name) < 0:
                raise UserError(f"{name}={getattr(self, name)} must not be negative")
        if not 0 <= self.beta2 < 1:
            raise UserError(f"beta2={self.beta2} must lie in [0, 1)")
        if self.decay not in ("constant", "cosine"):
            raise UserError(f"decay={self.decay} is not known; choose constant or cosine")


@dataclass(frozen=True)
class TrainerConfig:
    """Where and how the arithmetic is done. Nothing here changes what is learned beyond rounding."""

    accelerator: str = "auto"  # auto (a GPU when there is one) | cpu | gpu
    devices: int = 1  # processes; more than one: data parallel
    precision: str = "auto"  # auto (bf16 where the hardware has it) | bf16 | fp32
    compile: str = "auto"  # torch.compile: auto (a short trial on CUDA) | on | graphs (CUDA graphs, too) | off
    threads: int | None = None  # CPU threads; null: as PyTorch chooses
    deterministic: bool = False  # CUDA: only kernels that give the same bits run to run
    plan: Mapping[str, Any] = field(default_factory=dict)  # fields of the execution plan, by hand
    max_epochs: int | None = None  # overrides the model's `epochs`
    max_batches: int | None = None  # batches of an epoch; null: all
    overfit_batches: int = 0  # train on the first so many batches alone, without shuffling
    micro_batch: int | None = None  # sequences at a time; null: the whole batch, halved when memory runs out
    checkpoint_epochs: int = 1
    checkpoint_minutes: float = 5.0  # also within an epoch
    resume: bool = True  # go on from the newest good checkpoint in the run folder
    resident: str = "auto"  # auto | device | mapped: where the flat arrays live
    memory_gib: float | None = None  # what training may use; null: what is free
    validation_requests: int = 20_000  # a fixed random sample where there are more; 0: no validation
    profiler: str | None = None  # null | simple | pytorch

    def __post_init__(self) -> None:
        choices = {
            "accelerator": ("auto", "cpu", "gpu"),
            "precision": ("auto", "bf16", "fp32"),
            "compile": ("auto", "on", "graphs", "off"),
            "resident": ("auto", "device", "mapped"),
            "profiler": (None, "simple", "pytorch"),
        }
        for name, valid in choices.items():
            if getattr(self, name) not in valid:
                raise UserError(
                    f"trainer.{name}={getattr(self, name)} is not known; choose {' or '.join(map(str, valid))}"
                )
        if self.devices < 1:
            raise UserError(f"trainer.devices={self.devices} must be at least 1")
        if self.plan:
            Plan.check(self.plan)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> TrainerConfig:
        """From a resolved config; a `UserError` names an unknown key and its nearest neighbour."""
        valid = {f.name for f in fields(cls)}
        for name in values:
            if name not in valid and name != "name":
                raise UserError(f"trainer.{name} is not known.{nearest(name, valid)}")
        # YAML 1.1 reads a bare on / off as true / false.
        switch = {True: "on", False: "off"}
        return cls(**{k: switch.get(v, v) if k == "compile" else v for k, v in values.items() if k != "name"})


@dataclass(frozen=True)
class Plan:
    """How the arithmetic is carried out: with the same plan, seed, machine type and versions come the same numbers.

    Chosen once (`execution.choose`), stored in the checkpoint and the run's config, reused on resume.
    """

    device: str = "cpu"
    precision: str = "fp32"
    threads: int = 1
    cores: int = 1  # shares of a batch at work at once, each on its part of the threads (CPU)
    processes: int = 1
    edges: tuple[int, ...] = ()
    micro_batch: int = 128
    chunk: int = 256  # rows of the softmax at a time
    softmax: str = "chunked"
    fused_attention: bool = False
    compile: bool = False
    graphs: bool = False  # compiled parts replayed as CUDA graphs
    pad: int = 1  # positions of a batch are filled up to a multiple of this, for shapes that come again
    resident: bool = True
    deterministic: bool = False

    @classmethod
    def check(cls, values: Mapping[str, Any]) -> None:
        """A `UserError` for a field that a plan does not have."""
        valid = {f.name for f in fields(cls)}
        for name in values:
            if name not in valid:
                raise UserError(f"trainer.plan.{name} is not known.{nearest(name, valid)}")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Plan:
        """From JSON or YAML."""
        cls.check(values)
        fixed: dict[str, Any] = {k: tuple(v) if k == "edges" else v for k, v in values.items()}
        return cls(**fixed)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON and YAML."""
        return asdict(self) | {"edges": list(self.edges)}
