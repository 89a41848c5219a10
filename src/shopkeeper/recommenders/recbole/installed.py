"""Where RecBole is installed, which models it has, and which settings each of them takes; nothing of it is imported.

It lives in `.venv-recbole` below the working folder or beside this package's `src/`, or where the environment variable
`SHOPKEEPER_RECBOLE` says. Never does a run folder or a config say so: what is run there is a program.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from shopkeeper.errors import UserError, nearest

GENERAL, SEQUENTIAL, CONTEXT, KNOWLEDGE = "general", "sequential", "context", "knowledge"
ROOMS = {
    "general_recommender": GENERAL,
    "sequential_recommender": SEQUENTIAL,
    "context_aware_recommender": CONTEXT,
    "knowledge_aware_recommender": KNOWLEDGE,
}
NEED_GRAPH = ("GRU4RecKG", "KSR")  # stand among the sequential ones
# Settings of RecBole's own that every model reads, beside those of its YAML.
SHARED = ("MAX_ITEM_LIST_LENGTH", "learner", "learning_rate", "train_batch_size", "eval_batch_size", "weight_decay",
          "clip_grad_norm", "train_neg_sample_args", "require_pow", "enable_amp", "transform")  # fmt: skip
OURS = {
    "epochs": "model.epochs", "stopping_step": "model.patience", "eval_step": "model.validate_every", "seed": "seed",
    "use_gpu": "trainer.accelerator", "gpu_id": "trainer.accelerator", "selected_features": "model.content",
    "item_attribute": "model.content, the first of which it is",
    "train_stage": "nothing: its stages are trained one after another", "pre_model_path": "nothing",
}  # fmt: skip
# RecBole runs text through `eval`: only what is no expression goes there (settings also come from run folders).
PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Installed:
    """RecBole in its environment."""

    python: Path
    package: Path

    @classmethod
    def find(cls) -> Installed | None:
        """None where there is none."""
        told = os.environ.get("SHOPKEEPER_RECBOLE")
        places = [Path(told)] if told else [Path(".venv-recbole"), Path(__file__).parents[4] / ".venv-recbole"]
        for place in places:
            package = next(place.glob("lib/python3.*/site-packages/recbole"), None)
            if package is not None and (place / "bin" / "python").exists():
                return cls((place / "bin" / "python").absolute(), package.absolute())
        return None

    @classmethod
    def needed(cls) -> Installed:
        """As `find`; a `UserError` where there is none."""
        found = cls.find()
        if found is None:
            place = os.environ.get("SHOPKEEPER_RECBOLE")
            where = f"SHOPKEEPER_RECBOLE={place} has none" if place else "there is no .venv-recbole"
            raise UserError(f"model=recbole needs RecBole in an environment of its own and {where}: run `make recbole`")
        return found

    @property
    def kinds(self) -> dict[str, str]:
        """Kind by name of every model that RecBole has as one of its own networks or counts."""
        found = {}
        for room, kind in ROOMS.items():
            for path in sorted((self.package / "model" / room).glob("*.py")):
                for name in re.findall(r"^class (\w+)\(", path.read_text(encoding="utf-8"), re.M):
                    if name.lower() == path.stem:
                        found[name] = KNOWLEDGE if name in NEED_GRAPH else kind
        return dict(sorted(found.items()))

    def kind_of(self, name: str) -> str:
        """The kind of a model; a `UserError` names the nearest ones, or what it would need."""
        kinds = self.kinds
        usable = [known for known, kind in kinds.items() if kind != KNOWLEDGE]
        if name == "recbole":
            raise UserError(f"model=recbole says which model: model.name=SASRec. Valid: {', '.join(usable)}.")
        if name not in kinds:
            raise UserError(f"RecBole has no model.name={name}.{nearest(name, usable)}")
        if kinds[name] == KNOWLEDGE:
            raise UserError(
                f"model.name={name} needs a knowledge graph, which logs do not have.{nearest(name, usable)}"
            )
        return kinds[name]

    def settings_of(self, name: str) -> dict[str, Any]:
        """What RecBole's own YAML of a model says."""
        path = self.package / "properties" / "model" / f"{name}.yaml"
        return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}

    def check(self, name: str, parameters: Mapping[str, Any]) -> None:
        """A `UserError` for a model that there is not, and for a setting that it does not have."""
        self.kind_of(name)
        own = [key for key in self.settings_of(name) if key not in OURS]
        for key, value in parameters.items():
            if key in OURS:
                raise UserError(f"model.parameters.{key} is said elsewhere: set {OURS[key]}")
            if key not in own and key not in SHARED:
                place = f"model.parameters.{key}"
                raise UserError(f"RecBole's {name} has no setting {place}.{nearest(key, [*own, *SHARED])}")
            check_plain(f"model.parameters.{key}", value)


def check_plain(key: str, value: Any) -> None:
    """A `UserError` for text, however deep, that is not a single word."""
    if isinstance(value, str) and not PLAIN.fullmatch(value):
        raise UserError(f"{key}={value!r:.60} must be a number, true, false, null, one word, or lists of these")
    for inner in value if isinstance(value, list | tuple) else value.values() if isinstance(value, Mapping) else ():
        check_plain(key, inner)
    for name in value if isinstance(value, Mapping) else ():
        check_plain(key, str(name))
