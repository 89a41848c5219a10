"""Orders that stand in several files, counted by Spark's workers: `ingest.overlap.read_once` for `engine=spark`."""

from __future__ import annotations

from typing import Any


def read_twice(rows: Any, order: str, file_bits: int) -> tuple[int, int]:
    """Lines of orders that a later file has, too, and how many orders these are.

    `rows`: a Spark frame with the columns `item`, `time`, `event_type`, `place` (bits above `file_bits`: the
    file), and the one that `order` names.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    lines = rows.withColumn("file", f.shiftright("place", file_bits)).where(f.col(order).isNotNull())
    span = lines.groupBy(order).agg(f.min("file").alias("low"), f.max("file").alias("high"))
    lines = lines.join(span.where("low < high").select(order), order)
    together = (order, "time", "event_type")
    lines = lines.withColumn("earlier", f.col("file") < f.max("file").over(Window.partitionBy(*together)))
    lines = lines.withColumn("there", f.max(~f.col("earlier")).over(Window.partitionBy(*together, "item")))
    lines = lines.withColumn("again", f.max("there").over(Window.partitionBy(*together, "file")))
    found = lines.where("earlier and again").agg(f.count("*"), f.count_distinct(order)).first()
    return int(found[0]), int(found[1])
