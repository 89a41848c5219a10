"""Replays a bundle's golden requests and measures how long answers take: `python -m shopkeeper verify <bundle>`."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.answers import Answer, difference
from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.answer.integrity import AGAIN, checked_files, fitting
from shopkeeper.errors import UserError


@dataclass(frozen=True)
class Verification:
    """What `verify` found."""

    path: Path
    model: str
    requests: int
    wrong: list[str]  # one line per golden request that was answered differently
    p50_ms: float  # of one request at a time, from external ids to external ids
    p99_ms: float
    per_second: float  # requests a second, all golden requests in one call

    @property
    def ok(self) -> bool:
        """True when every golden request was answered as by the trained model."""
        return not self.wrong

    def __str__(self) -> str:
        state = "all as the trained model answers" if self.ok else f"{len(self.wrong)} DIFFERENT"
        return (
            f"{self.path}: {self.model}, hashes good, {self.requests} golden requests: {state}; "
            f"p50 {self.p50_ms:.2f} ms, p99 {self.p99_ms:.2f} ms, {self.per_second:,.0f} requests/s in one batch"
        )


def verify(path: Path | str, *, repeat: int = 3, threads: int = 1) -> Verification:
    """Load (hashes are checked), replay the golden requests, measure latency over `repeat` rounds of them.

    Raises:
        UserError: the bundle cannot be loaded. Different answers do not raise: they are in `wrong`.
    """
    path = Path(path)
    _, content = checked_files(path)
    bundle = Bundle.load(path, threads=threads)
    wrong = []
    with fitting(path):
        golden = golden_requests(path, content)
        for position, request in enumerate(golden):
            if said := difference(_replay(bundle, request), Answer.from_json(request["expected"])):
                wrong.append(f"golden request {position}: {said}")

    times = []
    for _ in range(repeat):
        for request in golden:
            start = time.perf_counter()
            _replay(bundle, request)
            times.append(time.perf_counter() - start)
    start = time.perf_counter()
    as_of = [request.get("as_of") for request in golden]
    bundle.answer([_history(request) for request in golden], None if None in as_of else as_of)
    batch = time.perf_counter() - start
    p50, p99 = np.percentile(np.array(times or [np.nan]) * 1e3, [50, 99])
    model = str(bundle.manifest.get("model"))
    return Verification(path, model, len(golden), wrong, float(p50), float(p99), len(golden) / batch)


def _replay(bundle: Bundle, request: dict[str, Any]) -> Answer:
    told = {"filter_seen": request["filter_seen"]} if "filter_seen" in request else {}
    exclude = [request["exclude"]] if request.get("exclude") else None
    return bundle.answer([_history(request)], request.get("as_of"), exclude=exclude, **told)[0]


def _history(request: dict[str, Any]) -> list[Any]:
    """Its events; older bundles of customer models call them so."""
    history: list[Any] = request["history"] if "history" in request else request["events"]
    return history


def golden_requests(path: Path, content: dict[str, bytes]) -> list[dict[str, Any]]:
    """The golden requests of a bundle; a `UserError` when there are none."""
    golden: list[dict[str, Any]] = json.loads(content.get("golden.json", b"{}")).get("requests", [])
    if not golden:
        raise UserError(f"{path} has no golden requests, so nothing can be verified; {AGAIN}")
    return golden
