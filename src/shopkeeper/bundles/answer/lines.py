"""JSON lines in, JSON lines out: one request a line, its answer in the same place."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.answer.wire import answered, refusal

MOST_BYTES = 10_000_000  # of a line: a history of 100,000 events has half as many
AT_ONCE = 1 << 20  # bytes that are read at once, where there are as many; who waits for an answer gets it at once
REQUEST = "a request"  # begins every message
MOST_REQUESTS = 1024  # that are answered together


def answer_lines(bundle: Bundle, source: BinaryIO, sink: BinaryIO) -> tuple[int, int]:
    """Answer until the source ends: how many requests there were, and how many of them were refused.

    A line that is no request, or a wrong one, gets `{"error": …}` in its place and stops nobody. Empty lines are none.
    """
    requests = refused = 0
    for lines in _read(source.fileno()):
        for first in range(0, len(lines), MOST_REQUESTS):
            answers = answer_some(bundle, lines[first : first + MOST_REQUESTS])
            requests, refused = requests + len(answers), refused + sum("error" in one for one in answers)
            sink.write(b"".join(as_json(one) + b"\n" for one in answers))
        sink.flush()
    return requests, refused


def answer_some(bundle: Bundle, lines: list[bytes]) -> list[dict[str, Any]]:
    """Answers to some lines, in order."""
    said: list[Any] = []
    wrong: dict[int, dict[str, Any]] = {}
    for line in lines:
        try:
            said.append(parsed(line))
        except ValueError as e:
            wrong[len(said)] = refusal(str(e), code="bad_json")
            said.append(None)
    answers = answered(bundle, [one for n, one in enumerate(said) if n not in wrong])
    rest = iter(answers)
    return [wrong[n] if n in wrong else next(rest) for n in range(len(said))]


def parsed(line: bytes) -> Any:
    """JSON as the standard has it: no NaN, not endlessly nested; a `ValueError` says in a line what is wrong."""
    if len(line) > MOST_BYTES:
        raise ValueError(f"a request has {len(line):,} bytes; at most {MOST_BYTES:,} are read")
    try:
        return DECODER.decode(line.decode(json.detect_encoding(line), "surrogatepass"))
    except UnicodeDecodeError:
        raise ValueError("a request is not UTF-8; write it as UTF-8") from None
    except json.JSONDecodeError as e:
        raise ValueError(f"a request is not JSON ({e.msg}, column {e.colno}); write one object a line") from None
    except ValueError as e:
        if str(e).startswith(REQUEST):
            raise
        raise ValueError(f"{REQUEST} holds a number of too many digits; ids are text") from None
    except RecursionError:
        raise ValueError("a request is nested too deeply; write one object, as request.schema.json says") from None


def as_json(value: Any) -> bytes:
    """Compact, as UTF-8; a lone surrogate, which JSON can write and UTF-8 cannot, stays an escape."""
    try:
        return ENCODER.encode(value).encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def _no_number(name: str) -> Any:
    raise ValueError(f"{REQUEST} holds {name}, which is no JSON; write null where a number is not known")


DECODER = json.JSONDecoder(parse_constant=_no_number)  # `json.loads` makes one for each request, told anything
ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _read(descriptor: int) -> Iterator[list[bytes]]:
    """Lines as they come, without the empty ones; one that is too long comes as its beginning."""
    left = b""
    while chunk := os.read(descriptor, AT_ONCE):
        *lines, left = (left + chunk).split(b"\n")
        left = left[: MOST_BYTES + 1]
        if some := [line for line in lines if line.strip()]:
            yield some
    if left.strip():
        yield [left]
