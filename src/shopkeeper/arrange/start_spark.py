"""Apache Spark as the engine of preparation: its session, begun without a word, or the one that runs already."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shopkeeper.arrange.engine_settings import Engine, check_spark_installed
from shopkeeper.errors import UserError

LINES_A_BATCH = 1 << 16  # that a worker reads and checks at once


@contextmanager
def session(engine: Engine) -> Iterator[Any]:
    """A quiet Spark session for an `engine` config; one that runs already is used and left running.

    Raises `UserError` when pyspark or Java is missing, or Spark does not start.
    """
    check_spark_installed()
    from pyspark.sql import SparkSession

    warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas")
    logging.getLogger("py4j").setLevel(logging.WARNING)
    active = SparkSession.getActiveSession()
    if active is not None:
        yield active
        return
    master = engine.master
    if master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    settings = {
        "spark.app.name": "shopkeeper prepare",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": str(engine.memory),
        "spark.driver.maxResultSize": "0",  # the arrays go to the driver, however long they are
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(engine.shuffle_partitions),
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(LINES_A_BATCH),
        **({"spark.driver.bindAddress": "127.0.0.1"} if master.startswith("local") else {}),
        **{str(key): str(value) for key, value in engine.settings.items()},
    }
    builder = SparkSession.builder.master(master)
    for key, value in settings.items():
        builder = builder.config(key, value)
    said: list[str] = []
    try:
        with _stderr_aside(said):
            spark = builder.getOrCreate()
    except Exception as e:  # Py4J and Spark raise many kinds
        why = ([line for line in said if "rror" in line or "xception" in line] or [_first_line(e)])[0]
        raise UserError(
            f"engine=spark: Spark does not start at {master} ({why}); see engine.master and JAVA_HOME, "
            f"or use engine=arrays"
        ) from None
    try:
        yield spark
    finally:
        spark.stop()


@contextmanager
def _stderr_aside(said: list[str]) -> Iterator[None]:
    """What this process and those that it starts (the Java machine, for good) write to stderr goes to `said`.

    Spark logs dozens of lines to a terminal before it can be told not to; its errors reach us as exceptions.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile("w+") as aside:
        kept = os.dup(2)
        os.dup2(aside.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            aside.seek(0)
            said += aside.read().splitlines()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
