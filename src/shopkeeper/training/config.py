"""What can be set about a training run: the recipe (in the model's config) and the trainer (conf/trainer/*.yaml)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

from shopkeeper.errors import Rule, check, number, one_of, or_null, whole
from shopkeeper.nn.loss_settings import Loss
from shopkeeper.shapes import SWITCH, Yaml
from shopkeeper.typed import read

AVERAGES = ("none", "ema", "last", "best")  # of weights, see averaging.py
COMPILE = ("auto", "on", "graphs", "off")
EDGES: Rule = (
    "must be a list of whole numbers of at least 1, ascending, such as [50, 200]",
    lambda x: (
        isinstance(x, Sequence) and len(x) > 0 and all(whole(1)[1](e) for e in x) and all(a < b for a, b in pairwise(x))
    ),
)
EPOCHS: Rule = ("must be a list of epochs, ascending from 1, such as [9, 13, 14]", EDGES[1])


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
    item_l2: float = 0.0  # times the squared length of the item vector at each position, beside the loss
    average: str = "none"  # of the weights that are validated and kept: none | ema | last | best (see averaging.py)
    average_decay: float = 0.999  # of ema, a step
    average_epochs: int = 5  # of last and best
    batch_size: int = 128  # sequences
    epochs: int = 200  # the limit; training stops by patience before it
    patience: int = 10  # validations without a better NDCG@k, and more while they rise; 0: all epochs
    patience_steps: int = 0  # and no fewer steps: of few customers an epoch is one or two
    validate_every: int = 1  # epochs

    RULES: ClassVar[dict[str, Rule]] = {
        "lr": number(above=True),
        "weight_decay": number(),
        "beta2": number(below=1),
        "warmup_steps": whole(0),
        "decay": one_of("constant", "cosine"),
        "clip": number(),
        "item_l2": number(),
        "average": one_of(*AVERAGES),
        "average_decay": number(below=1),
        "average_epochs": whole(1),
        "batch_size": whole(1),
        "epochs": whole(1),
        "patience": whole(0),
        "patience_steps": whole(0),
        "validate_every": whole(1),
    }

    def __post_init__(self) -> None:
        object.__setattr__(self, "loss", Loss.of(self.loss))
        check(vars(self), self.RULES, "model.")


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

    RULES: ClassVar[dict[str, Rule]] = {
        "device": one_of("cpu", "cuda"),
        "precision": one_of("bf16", "fp32"),
        "threads": whole(1),
        "cores": whole(1),
        "processes": whole(1),
        "edges": EDGES,
        "micro_batch": whole(1),
        "chunk": whole(1),
        "softmax": one_of("chunked", "cut_cross_entropy", "liger", "full"),
        "fused_attention": SWITCH,
        "compile": SWITCH,
        "graphs": SWITCH,
        "pad": whole(1),
        "resident": SWITCH,
        "deterministic": SWITCH,
    }

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Plan:
        """From JSON: of a checkpoint, or of a process of one training; a `UserError` for what a plan cannot be."""
        return cls(**PlanByHand.of(values).given)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON and YAML."""
        return asdict(self) | {"edges": list(self.edges)}


@dataclass(frozen=True)
class PlanByHand:
    """What a person sets of a plan, or another run's whole one; None: chosen for the machine."""

    device: str | None = None
    precision: str | None = None
    threads: int | None = None
    cores: int | None = None
    processes: int | None = None
    edges: tuple[int, ...] | None = None
    micro_batch: int | None = None
    chunk: int | None = None
    softmax: str | None = None
    fused_attention: bool | None = None
    compile: bool | None = None
    graphs: bool | None = None
    pad: int | None = None
    resident: bool | None = None
    deterministic: bool | None = None

    RULES: ClassVar[dict[str, Rule]] = {name: or_null(rule) for name, rule in Plan.RULES.items()}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> PlanByHand:
        """From JSON or YAML; a `UserError` for a field that a plan does not have or that cannot have its value."""
        return read(cls, values, "trainer.plan")

    @property
    def given(self) -> dict[str, Any]:
        """The fields that are set."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class TrainerConfig:
    """Where and how the arithmetic is done. Nothing here changes what is learned beyond rounding."""

    name: str = "auto"  # of the file in conf/trainer
    accelerator: str = "auto"  # auto (a GPU when there is one) | cpu | gpu
    devices: int = 1  # processes; more than one: data parallel
    precision: str = "auto"  # auto (bf16 where it is faster) | bf16 | fp32
    compile: str = "auto"  # torch.compile: auto (a short trial on CUDA) | on | graphs (CUDA graphs, too) | off
    threads: int | None = None  # CPU threads; null: as PyTorch chooses
    deterministic: bool = False  # CUDA: only kernels that give the same bits run to run
    plan: PlanByHand = field(default_factory=PlanByHand)  # fields of the execution plan, by hand; null: chosen
    max_epochs: int | None = None  # overrides the model's `epochs`
    averaged: tuple[int, ...] | None = None  # epochs that average=best is of where nothing is validated; null: the last
    max_batches: int | None = None  # batches of an epoch; null: all
    overfit_batches: int = 0  # train on the first so many batches alone, without shuffling
    micro_batch: int | None = None  # sequences at a time; null: all, on a CPU as many as `execution.within` allows
    checkpoint_epochs: int = 1
    checkpoint_minutes: float = 5.0  # also within an epoch
    resume: bool = True  # go on from the newest good checkpoint in the run folder
    resident: str = "auto"  # auto | device | mapped: where the flat arrays live
    memory_gib: float | None = None  # what training may use; null: what is free
    validation_requests: int = 20_000  # a fixed random sample where there are more; 0: no validation
    profiler: str | None = None  # null | simple | pytorch
    plain: Yaml = field(default_factory=dict, repr=False, compare=False)  # the block as it was composed

    RULES: ClassVar[dict[str, Rule]] = {
        "accelerator": one_of("auto", "cpu", "gpu"),
        "devices": whole(1),
        "precision": one_of("auto", "bf16", "fp32"),
        "compile": (one_of(*COMPILE)[0], lambda x: isinstance(x, bool) or x in COMPILE),
        "threads": or_null(whole(1)),
        "deterministic": SWITCH,
        "max_epochs": or_null(whole(1)),
        "averaged": or_null(EPOCHS),
        "max_batches": or_null(whole(1)),
        "overfit_batches": whole(0),
        "micro_batch": or_null(whole(1)),
        "checkpoint_epochs": whole(1),
        "checkpoint_minutes": number(),
        "resume": SWITCH,
        "resident": one_of("auto", "device", "mapped"),
        "memory_gib": or_null(number(above=True)),
        "validation_requests": whole(0),
        "profiler": or_null(one_of("simple", "pytorch")),
    }

    def __post_init__(self) -> None:
        if isinstance(self.compile, bool):  # YAML 1.1 reads a bare on / off as true / false
            object.__setattr__(self, "compile", "on" if self.compile else "off")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> TrainerConfig:
        """From a resolved config; a `UserError` names an unknown key and its nearest neighbour."""
        return read(cls, values, "trainer")

    def to_json(self) -> dict[str, Any]:
        """What `of` makes the same one of."""
        return {name: value for name, value in asdict(self).items() if name != "plain"}
