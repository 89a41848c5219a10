"""What can be set about an engine of `prepare` (conf/engine/*.yaml)."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from importlib.util import find_spec

from shopkeeper.errors import UserError, nearest, whole
from shopkeeper.shapes import ANY, PLAIN, Each, Name, Yaml
from shopkeeper.typed import held, read

ENGINES = ("arrays", "polars", "duckdb", "spark")


@dataclass(frozen=True)
class Engine:
    """What computes the relational steps of preparation, see `engine`. All but the name is Spark's alone."""

    name: str = held(Name(ENGINES), "arrays")
    master: str = "local[2]"
    memory: str = held(PLAIN, "4g")  # of the driver
    shuffle_partitions: int = held(whole(1), 8)
    settings: Yaml = held(Each(ANY), factory=dict)  # any further Spark property: value
    plain: Yaml = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        for key in self.plain if self.name != "spark" else ():
            if key != "name":
                raise UserError(f"unknown option `engine.{key}` of engine={self.name}.{nearest(str(key), ['name'])}")

    @classmethod
    def of(cls, block: Yaml) -> Engine:
        """From a resolved config; a `UserError` names an unknown key and its nearest neighbour."""
        return read(cls, block, "engine")


def check_spark_installed() -> None:
    """A `UserError` when pyspark or Java is missing."""
    if not find_spec("pyspark"):
        raise UserError("engine=spark needs pyspark: pip install 'shopkeeper[spark]', or engine=arrays")
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        raise UserError("engine=spark needs Java 17: install it, or set JAVA_HOME; or engine=arrays")
