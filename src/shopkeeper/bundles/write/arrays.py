"""Recommenders that travel as arrays which `answer.ranking` reads: no graph, and no torch to write them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from shopkeeper.data.prepared import Prepared
from shopkeeper.schema import INTEREST, event_codes

FAMILIES = ("EASE", "ItemKNN", "PersonalFrequency", "Recency")


@dataclass(frozen=True)
class Arrays:
    """What `answer.ranking.SCORERS[scorer]` reads, and whether events must have a time."""

    scorer: str
    arrays: dict[str, np.ndarray]
    needs_time: bool = False
    max_length: int | None = None  # everything is read, as where a `ranking.Scorer` says nothing else
    event_types: tuple[str, ...] | None = None
    known: np.ndarray | None = None


def arrays_of(model: Any, prepared: Prepared) -> Arrays | None:
    """The arrays of a family that travels so; None: one that travels as a graph, or not at all."""
    family, timed = type(model).__name__, prepared.events.timestamp is not None
    if family == "EASE":
        arrays = {"weight": model.weight_AA, "items": model.items_A, "fallback": model.fallback_V}
        return Arrays("ease", arrays | {"counts_type": model.counts_type})
    if family == "Recency":
        return Arrays("recency", {"rest": model.rest_V, "types": np.array(event_codes(INTEREST), np.int8)})
    if family == "PersonalFrequency":
        arrays = {"rest": model.rest_V, "weight_of_type": model.weight_of_type}
        half_life = model.half_life_days if timed else None
        arrays["half_life_days"] = np.array([half_life or 0.0])
        return Arrays("personal_frequency", arrays, needs_time=half_life is not None)
    if family == "ItemKNN" and model.half_life_days is not None and timed:  # a graph is told no times
        lists = model.similarity_VV
        arrays = {"indptr": lists.indptr, "indices": lists.indices, "values": lists.data, "fallback": model.fallback_V}
        arrays |= {"weight_of_type": model.weight_of_type, "half_life_days": np.array([model.half_life_days])}
        arrays["half_life_events"] = np.array([model.half_life_events or 0.0])
        return Arrays("item_knn", arrays, needs_time=True)
    return None
