"""What every model made of a sequence network shares, whatever it is asked: settings, weights in a file, vectors.

Shapes: n histories, D width.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from shopkeeper.closure import code_of
from shopkeeper.errors import UserError, nearest
from shopkeeper.files import atomic_file, write_json
from shopkeeper.metrics.parallel import Cores, n_cores
from shopkeeper.nn.network import SequenceNetwork
from shopkeeper.training.batching.batches import Batch
from shopkeeper.training.batching.histories import Histories
from shopkeeper.training.config import Recipe
from shopkeeper.training.devices.execution import edges_up_to
from shopkeeper.training.validation import encode_all

if TYPE_CHECKING:
    from shopkeeper.training.fit import Trained

OF_DATA = ("n_items", "n_types", "baskets")  # fields of a shape that nobody sets
OF_FILE = ("name", "target", "task", "tasks")  # stand beside the settings in conf/model/*.yaml, and may be meant
WEIGHTS = "weights.safetensors"
MANY = 1000  # histories that are worth a copy of the network on a GPU


class SequenceModel:
    """A network, the shape it is made from and how it is trained."""

    format: ClassVar[str]  # of the weights, such as "shopkeeper.sasrec/1"
    network_class: ClassVar[type[SequenceNetwork]]
    shape_class: ClassVar[type[Any]]

    def __init__(self, own: Iterable[str], settings: Mapping[str, Any]):
        """`settings`: of the shape and of `training.config.Recipe`; `own`: what else the model can be told."""
        valid = {*own, *self._names(), *(f.name for f in fields(Recipe))}
        for name in settings:
            if name not in valid:
                raise UserError(
                    f"a {type(self).__name__} has no setting model.{name}.{nearest(name, {*valid, *OF_FILE})}"
                )
        default = self._shape(1)
        self.settings = {name: settings.get(name, getattr(default, name)) for name in self._names()}
        self._shape(1, **self.settings)  # checks them
        self.recipe = Recipe(**{k: v for k, v in settings.items() if k not in self.settings})
        self.network: SequenceNetwork | None = None
        self.trained: Trained | None = None

    @property
    def steps(self) -> int | None:
        """The epoch that validation chose."""
        return None if self.trained is None else self.trained.best_epoch

    def vectors(self, histories: Histories, n: int) -> tuple[Tensor, Tensor]:
        """Vectors float32 (n, D) after the last event of each history, and which have none: bool (n,)."""
        network, device = self._network(), self._device_for(n)
        on_gpu = device.type != "cpu"
        if on_gpu:  # a copy: who reads the weights expects them in this machine's memory
            network = copy.deepcopy(network).to(device)
        shape = network.shape

        def last_vectors(core: int, batch: Batch) -> Tensor:
            out: Tensor = network(network.embed(batch), batch.layout.groups, on_gpu, batch.layout.last_B)
            return out

        with Cores(n_cores(n, device)) as cores, torch.inference_mode():
            vector_nD, blank_n = encode_all(
                last_vectors,
                histories,
                n,
                edges_up_to(shape.max_length),
                device,
                network.reads,
                shape.width,
                batch_size=512 if on_gpu else 64,  # a small one's activations stay in the cache: 3/4 of the time of 256
                cores=cores,
            )
        return vector_nD.cpu(), blank_n.cpu()

    def _device_for(self, n: int) -> torch.device:
        """Where so many histories are encoded: a GPU, unless this model was trained beside one. 6,040 histories of
        ml_1m take a minute on one core at width 256, where the GPU had trained an epoch in two seconds."""
        beside = self.trained is not None and self.trained.plan.device == "cpu"
        return torch.device("cuda" if n >= MANY and not beside and torch.cuda.is_available() else "cpu")

    def write_weights(self, folder: Path, others: Mapping[str, Tensor], spec: Mapping[str, Any]) -> None:
        """Write `weights.safetensors` (network, shape, `others` and `spec`) and `training.json` (plan, history)."""
        network = self._network()
        tensors = {f"network.{k}": v.contiguous() for k, v in network.state_dict().items()} | dict(others)
        said = {"format": self.format, "shape": asdict(network.shape), **spec}
        Path(folder).mkdir(parents=True, exist_ok=True)
        with atomic_file(Path(folder) / WEIGHTS) as tmp:
            # One entry: several are written in an order that changes from process to process.
            save_file(tensors, tmp, {"shopkeeper": json.dumps(said, sort_keys=True)})
        if self.trained is not None:
            write_json(Path(folder) / "training.json", self.trained.summary())

    def read_weights(self, folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What `write_weights` was given, with the network's tensors; a `UserError` when it is damaged or another's."""
        return read_weights(folder, self.format)

    def take_weights(self, network: SequenceNetwork, tensors: Mapping[str, Tensor]) -> None:
        """Make this network, with the weights among the tensors, the model's; a `UserError` where they are not its."""
        own = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
        made, found = ({k: v.shape for k, v in of.items()} for of in (network.state_dict(), own))
        if strange := sorted(k for k in made.keys() | found.keys() if made.get(k) != found.get(k)):
            raise UserError(
                f"the run's {type(self).__name__} was written by another version ({strange[0]}); train it again"
            )
        network.load_state_dict(own)
        self.network = network.eval()

    def identity(self, shape: Any) -> dict[str, Any]:
        """What a checkpoint must agree with, beside what the objective asks."""
        code = code_of(type(self).__module__, "shopkeeper.training.devices.worker")
        return {"model": self.format, "code": code, **asdict(shape)}

    def _network(self) -> SequenceNetwork:
        if self.network is None:
            raise UserError(f"this {type(self).__name__} has no weights yet: call fit or load first")
        return self.network

    @classmethod
    def _names(cls) -> list[str]:
        """Fields of the shape that may be set."""
        return [f.name for f in fields(cls.shape_class) if f.name not in OF_DATA]

    @classmethod
    def _shape(cls, n_items: int, n_types: int = 0, **settings: Any) -> Any:
        return cls.shape_class(n_items, **({"n_types": n_types} if cls.can("n_types") else {}), **settings)

    @classmethod
    def can(cls, name: str) -> bool:
        """Whether its shape has this field."""
        return any(f.name == name for f in fields(cls.shape_class))


class PlainForm(torch.nn.Module):
    """A network as a graph calls it: a float32 copy, its plain form on histories that are padded on the left."""

    def __init__(self, network: SequenceNetwork):
        super().__init__()
        self.network: SequenceNetwork = copy.deepcopy(network).float().cpu().eval()
        self.network.fold()
        self.inputs = tuple(name for name in network.reads if name != "type")  # that follow histories and types

    def last(self, history_BL: Tensor, event_type_BL: Tensor, others_BL: Sequence[Tensor]) -> Tensor:
        """The vector after the last event: (B, D)."""
        typed = event_type_BL if "type" in self.network.reads else None
        others = dict(zip(self.inputs, others_BL, strict=True))
        if "channel" in others:  # codes, in a graph whose further inputs are all of one type
            others["channel"] = others["channel"].long()
        return self.network.exported(history_BL, typed, **others)


def read_weights(folder: Path, wanted: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `write_weights` wrote of a format, with the network's tensors; a `UserError` when it is not there."""
    path = Path(folder) / WEIGHTS
    try:
        with safe_open(path, "pt") as file:
            spec = _spec(file.metadata() or {})
            if spec.get("format") != wanted:
                raise UserError(f"{path} holds {spec.get('format', 'something else')}, not {wanted}; check run=")
            return spec, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path} is missing; train the model again") from None
    except (SafetensorError, OSError) as e:
        raise UserError(f"{path} is damaged ({e}); train the model again") from None


def _spec(meta: Mapping[str, str]) -> dict[str, Any]:
    """What the header of a file of weights says; also of files that had it in two entries."""
    try:
        found = json.loads(meta["shopkeeper"]) if "shopkeeper" in meta else json.loads(meta.get("spec", "{}"))
    except ValueError:
        return {}
    return {"format": meta.get("format"), **found} if isinstance(found, dict) else {}
