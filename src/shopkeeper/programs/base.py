"""What a model hands to a bundle: the name of a function, and all that it reads.

A model that is exported has `program(timed) -> Program`; the functions are in `ranking.LIST_SCORERS` and in
`scoring.PROBABILITY_SCORERS`, of waits in `waits.WAIT_SCORERS`. GRAPH stands for a torch module, which is written as an
ONNX graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

GRAPH = "onnx"


@dataclass(frozen=True)
class Program:
    """How a trained model answers, and what it reads of a history."""

    scorer: str
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    # Of GRAPH, and of a blend with a network: a torch module,
    # `module(history_BL, event_type_BL, *others) -> scores_BV`
    module: Any = None
    # Of GRAPH: the others, float32 (B, L) each: `age`, `since`, `until` in days, `price`, `channel`; of one that reads
    # baskets `amount` and `lines`. See `nn.network`.
    inputs: tuple[str, ...] = ()
    # Of GRAPH: what `own.own_items` reads; the graph is told own items and their scores, and the module gives two
    # scores (B, V) where `own_scored`: those of other items and those of own ones.
    own: Mapping[str, np.ndarray] | None = None
    own_scored: bool = False
    fallback: np.ndarray | None = None  # of GRAPH: float32 (V,), the scores after an empty history
    needs_time: bool = False  # each event must have its time
    needs_instant: bool = False  # it must be said when it is asked
    columns: tuple[str, ...] = ()  # that are read of events beside item, type and time: `order`, `session`
    max_length: int | None = None  # so many last events are read; None: all
    event_types: tuple[str, ...] | None = None  # events of these types are history; None: all
    known: np.ndarray | None = None  # bool (V,): events of these items are history; None: all
    calibrator: Mapping[str, Any] | None = None  # of probabilities: what is done to them at last
    # Of GRAPH, of several heads: what each further one answers with, and its calibrator, by the name of its task.
    further: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    of_pairs: bool = False  # of GRAPH: the module says a probability of each category or item, calibrated, (B, C)
    shift: Mapping[str, Any] | None = None  # of waits: what `waits.shifted` adds to the days that are found
    season: Mapping[str, Any] | None = None  # of customers: the shop's year that answers follow; see `programs.season`
    people: int = 0  # training customers whose data travel along (without ids)


@runtime_checkable
class Exportable(Protocol):
    """A model of which a bundle can be made."""

    def program(self, timed: bool) -> Program:
        """What a bundle runs; `timed`: the training log had times. A `UserError` says why there is none."""
