"""What a graph (ONNX) is given: rectangles of histories, padded on the left.

Shapes: B histories, L positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.events import Row
from shopkeeper.bundles.answer.integrity import AGAIN
from shopkeeper.errors import UserError
from shopkeeper.schema import MICROSECONDS_PER_DAY

OTHERS = ("age", "since", "until", "price", "channel")
EVENTS_AT_ONCE = 65_536  # requests x length of the longest history in one call


def others(
    rows: Sequence[Sequence[Row]], instant: np.ndarray | None, wanted: frozenset[str], channels: list[str]
) -> dict[str, np.ndarray]:
    """What a graph is told of events beside item and type, as in training: float32 (B, L) each.

    Days before the newest event (`age`), since the one before (`since`), to the next one or the instant (`until`); the
    price per unit and the number of the channel, 0 where unknown.
    """
    found = {}
    if "price" in wanted:
        found["price"] = padded([[0.0 if r.price != r.price else r.price for r in h] for h in rows], np.float32)
    if "channel" in wanted:
        code = {name: float(c) for c, name in enumerate(channels, start=1)}
        found["channel"] = padded([[code.get(r.channel or "", 0.0) for r in h] for h in rows], np.float32)
    if wanted & {"age", "since", "until"}:
        at = [np.array([row.timestamp for row in history], np.int64) for history in rows]
        if "age" in wanted:
            found["age"] = padded([_days(t[-1:] - t) for t in at], np.float32)
        if "since" in wanted:
            found["since"] = padded([_days(np.diff(t, prepend=t[:1])) for t in at], np.float32)
        if "until" in wanted:
            assert instant is not None
            found["until"] = padded(
                [_days(np.diff(t, append=now)) for t, now in zip(at, instant, strict=True)], np.float32
            )
    return found


def _days(microseconds: np.ndarray) -> Sequence[float]:
    days: list[float] = (microseconds / MICROSECONDS_PER_DAY).tolist()
    return days


def padded(lists: Sequence[Sequence[float] | np.ndarray], dtype: type = np.int64) -> np.ndarray:
    """A rectangle, padded with 0 on the left."""
    if len(lists) == 1 and len(lists[0]):
        return np.asarray(lists[0], dtype)[None]
    width = max(map(len, lists), default=0) or 1
    table: np.ndarray = np.zeros((len(lists), width), dtype)
    for b, values in enumerate(lists):
        table[b, width - len(values) :] = values
    return table


def open_session(path: Path, graph: bytes, threads: int, packed: bool = False) -> Any:
    """An ONNX Runtime session on the CPU.

    `packed`: tables are laid out anew for products. That is what makes products of whole numbers fast; those of a
    single request in 32 bits are slower with it, and take twice the memory.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UserError("answering from a bundle needs ONNX Runtime: `pip install 'shopkeeper[serving]'`") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_prepacking", "0" if packed else "1")
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as e:  # ONNX Runtime raises its own classes straight from Exception
        reason = str(e).splitlines()[0]
        raise UserError(
            f"{path / 'model.onnx'} cannot be opened by ONNX Runtime {onnxruntime.__version__} ({reason}); {AGAIN}"
        ) from None
    session._model_bytes = None  # kept for other providers, which are never asked for: as large as all weights
    return session
