"""What a graph (ONNX) is given: rectangles of histories, padded on the left.

Shapes: B histories, L positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.events import Row
from shopkeeper.bundles.answer.integrity import AGAIN
from shopkeeper.errors import UserError
from shopkeeper.schema import MICROSECONDS_PER_DAY

CLOSED = (
    "closed_V"  # an input that may be left out: float32 (V,), added to every item's score, -inf of what is not shown
)
OTHERS = ("age", "since", "until", "price", "channel", "amount", "lines")
LARGE = 1 << 20  # bytes of a table that is taken out of a graph's file
LARGE_TABLE = 32 << 20  # bytes of a table that is kept once
IN_MODEL, IN_GRAPH = 7, 5  # onnx.proto: where a model has its graph, and a graph its tables
DIMS, TYPE, NAME, RAW, ELSEWHERE, WHERE = 1, 2, 8, 9, 13, 14  # of a table
KINDS = {1: "<f4", 2: "u1", 3: "i1", 10: "<f2"}
EVENTS_AT_ONCE = 65_536  # requests x length of the longest history in one call
SHORT = 16  # events; histories of at most so many are padded to one length in any case


def others(
    rows: Sequence[Sequence[Row]], instant: np.ndarray | None, wanted: frozenset[str], channels: list[str]
) -> dict[str, np.ndarray]:
    """What a graph is told of events beside item and type, as in training: float32 (B, L) each.

    Days before the newest event (`age`), since the one before (`since`), to the next one or the instant (`until`); the
    price per unit and the number of the channel, 0 where unknown. Of baskets (`in_baskets`) what the lines come to
    (`amount`) and how many they are (`lines`).
    """
    found = {}
    if "amount" in wanted:
        found["amount"] = padded([[row.price for row in history] for history in rows], np.float32)
    if "lines" in wanted:
        found["lines"] = padded([[row.quantity for row in history] for history in rows], np.float32)
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


def in_baskets(rows: Sequence[Row], items: Sequence[int], columns: Sequence[str]) -> tuple[list[Row], list[int]]:
    """Events in order of time, and the numbers of their items -> baskets, as `customers.networks.questions` has them.

    `columns`: of the training log; a price or a quantity that it lacked is not read.
    """
    found, first = list[Row](), list[int]()
    for row, item in zip(rows, items, strict=True):
        unknown = "price" not in columns or row.price != row.price
        units = 1.0 if "quantity" not in columns or row.quantity != row.quantity else abs(row.quantity)
        amount = 0.0 if unknown else row.price * units
        if found and (found[-1].timestamp, found[-1].event_type) == (row.timestamp, row.event_type):
            found[-1] = found[-1]._replace(price=found[-1].price + amount, quantity=found[-1].quantity + 1)
        else:
            found.append(row._replace(price=amount, quantity=1.0))
            first.append(item)
    return found, first


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


def together(lengths: Sequence[int], most: int, spare: int) -> Iterator[tuple[int, int]]:
    """Which histories, by ascending length, are answered in one call: begin and end of each part.

    A part goes on while its histories are at most twice as long as its first, and further as long as padding all of
    them takes no more than `spare` positions: what a call costs by itself. `most`: histories in one call.
    """
    begin, padding = 0, 0
    for n, length in enumerate(lengths):
        padding += (n - begin) * (length - lengths[n - 1]) if n else 0
        alike = length <= max(SHORT, 2 * lengths[begin]) or padding <= spare
        if n > begin and not (alike and n - begin < min(most, EVENTS_AT_ONCE // max(length, 1))):
            yield begin, n
            begin, padding = n, 0
    if lengths:
        yield begin, len(lengths)


def open_session(path: Path, graph: bytes, threads: int, packed: bool = False) -> Any:
    """An ONNX Runtime session on the CPU.

    Tables are laid out anew for products (`packed`): two to eight requests that are answered together take .7 of the
    time then, and a single one as long. Of tables of `LARGE_TABLE` bytes that would be a second copy beside the one
    that histories are looked up in, so that they stay as they are; smaller ones have their transpose there in any case
    (`write.onnx_file`). `packed`: all of them, as products of whole numbers need it to be fast.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UserError("answering from a bundle needs ONNX Runtime: `pip install 'shopkeeper[serving]'`") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    rest, tables = apart(graph)
    packed = packed or all(table.nbytes < LARGE_TABLE for table in tables.values())
    options.add_session_config_entry("session.disable_prepacking", "0" if packed else "1")
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(table) for table in tables.values()]
    if tables:
        options.add_external_initializers([*tables], values)
    try:
        session = onnxruntime.InferenceSession(rest, options, providers=["CPUExecutionProvider"])
    except Exception as e:  # ONNX Runtime raises its own classes straight from Exception
        reason = str(e).splitlines()[0]
        raise UserError(
            f"{path / 'model.onnx'} cannot be opened by ONNX Runtime {onnxruntime.__version__} ({reason}); {AGAIN}"
        ) from None
    session._model_bytes = None  # kept for other providers, which are never asked for: as large as all weights
    return session


def apart(graph: bytes) -> tuple[bytes, dict[str, np.ndarray]]:
    """The file without its large tables, and these by name, where they lie in it: ONNX Runtime copies them from there.

    Those that it finds in the file itself it copies twice, which takes nearly half of the time that a bundle of a
    million items needs to open. What is not as expected stays in the file: ONNX Runtime says what is wrong with it.
    Source: https://protobuf.dev/programming-guides/encoding and onnx.proto.
    """
    tables: dict[str, np.ndarray] = {}
    try:
        model: list[bytes | memoryview] = []
        for number, field, content in _fields(memoryview(graph)):
            if number == IN_MODEL:
                inside = [_without(n, f, c, tables) for n, f, c in _fields(content)]
                model.append(_field(number, b"".join(inside)))
            else:
                model.append(field)
        return (b"".join(model), tables) if tables else (graph, {})
    except (IndexError, KeyError, ValueError, TypeError, OverflowError):
        return graph, {}


def _without(number: int, field: bytes | memoryview, content: Any, tables: dict[str, np.ndarray]) -> bytes | memoryview:
    """A field of a graph; of a large table what there is beside its numbers, which go into `tables`."""
    if number != IN_GRAPH or len(content) < LARGE:
        return field
    parts = [*_fields(content)]
    told = {n: c for n, _, c in parts}
    raw, shape = told.get(RAW), [c for n, _, c in parts if n == DIMS]
    if raw is None or told.get(TYPE) not in KINDS or told.keys() & {ELSEWHERE, WHERE}:
        return field
    tables[str(told[NAME], "utf-8")] = np.frombuffer(raw, KINDS[told[TYPE]]).reshape(shape)
    left = [f for n, f, _ in parts if n != RAW]
    where = _field(ELSEWHERE, _field(1, b"location") + _field(2, b"in memory"))
    return _field(number, b"".join([*left, where, bytes([WHERE << 3, 1])]))


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview, Any]]:
    """Number, whole and content (bytes, or a whole number) of each field of a message."""
    at = 0
    while at < len(message):
        begin = at
        key, at = _number(message, at)
        kind = key & 7
        content: int | memoryview | None = None
        if kind == 0:
            content, at = _number(message, at)
        elif kind == 2:
            length, at = _number(message, at)
            content, at = message[at : at + length], at + length
        else:
            at += {1: 8, 5: 4}[kind]
        if at > len(message):
            raise ValueError
        yield key >> 3, message[begin:at], content


def _number(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        value |= (message[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if message[at - 1] < 128:
            return value, at
    raise ValueError


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes, of a number below 16."""
    head, length = bytearray([number << 3 | 2]), len(content)
    while length > 127:
        head.append(length & 127 | 128)
        length >>= 7
    return bytes([*head, length]) + content
