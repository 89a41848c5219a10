"""Where runs are logged (conf/tracking/*.yaml)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shopkeeper.shapes import PLAIN, Name, Needed
from shopkeeper.typed import held


@dataclass(frozen=True)
class Tracking:
    """A store of MLflow's, or none."""

    name: str = held(Needed(Name(("mlflow", "none"))))  # none: nothing is logged
    uri: str = "sqlite:///mlflow.db"
    artifacts: Path = Path("mlartifacts")  # used with SQLite only; a server knows its own place
    experiment: str = held(PLAIN, "shopkeeper")
    system_metrics: bool = False  # processor, memory and GPU, sampled while a model trains

    @property
    def off(self) -> bool:
        """Whether nothing is logged."""
        return self.name == "none"
