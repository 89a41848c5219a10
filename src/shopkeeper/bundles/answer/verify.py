"""Replays a bundle's golden requests and measures how long answers take: `python -m shopkeeper verify <bundle>`."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.bundle import Answer, Bundle
from shopkeeper.bundles.answer.customers import SAME_PROBABILITY, Score
from shopkeeper.bundles.answer.integrity import AGAIN, checked_files
from shopkeeper.errors import UserError

SAME_SCORE = 1e-4  # largest difference between a score of the runtime and of the trained model
SAME_RANK = 1e-5  # items whose scores lie closer than this may stand in either order
# Both are absolute up to scores of 1, and relative to the score above (counts and sums of similarities).


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
    manifest, content = checked_files(path)
    if manifest.get("kind") == "customer":
        return verify_customer_bundle(path, repeat=repeat)
    bundle = Bundle.load(path, threads=threads)
    golden = golden_requests(path, content)
    wrong = []
    for position, request in enumerate(golden):
        answer = _replay(bundle, request)
        difference = first_difference(answer, [(e["item_id"], e["score"]) for e in request["expected"]])
        if difference:
            wrong.append(f"golden request {position}: {difference}")

    times = []
    for _ in range(repeat):
        for request in golden:
            start = time.perf_counter()
            _replay(bundle, request)
            times.append(time.perf_counter() - start)
    start = time.perf_counter()
    bundle.recommend([request["history"] for request in golden])
    batch = time.perf_counter() - start
    p50, p99 = np.percentile(np.array(times or [np.nan]) * 1e3, [50, 99])
    return Verification(path, str(manifest.get("model")), len(golden), wrong, p50, p99, len(golden) / batch)


def verify_customer_bundle(path: Path, *, repeat: int = 3) -> Verification:
    """Replay the golden customers and measure latency, as `verify` does for recommenders."""
    _, content = checked_files(path)
    bundle = Bundle.load(path)
    golden = golden_requests(path, content)
    start = time.perf_counter()
    answers = bundle.score([g["events"] for g in golden], as_of=[g["as_of"] for g in golden])
    batch = time.perf_counter() - start
    wrong = []
    for position, (got, request) in enumerate(zip(answers, golden, strict=True)):
        if not same_score(got, wanted := Score(**request["expected"])):
            wrong.append(f"golden request {position}: {_said(got)} instead of {_said(wanted)}")
    times = []
    for _ in range(repeat):
        for request in golden:
            start = time.perf_counter()
            bundle.score([request["events"]], as_of=request["as_of"])
            times.append(time.perf_counter() - start)
    p50, p99 = np.percentile(np.array(times or [np.nan]) * 1e3, [50, 99])
    model = str(bundle.manifest.get("model"))
    return Verification(path, model, len(golden), wrong, float(p50), float(p99), len(golden) / batch)


def same_score(one: Score, other: Score) -> bool:
    """Blank for the same reason, or as good as the same probability."""
    if one.probability is None or other.probability is None:
        return one == other
    return one.reason == other.reason and abs(one.probability - other.probability) <= SAME_PROBABILITY


def _said(score: Score) -> str:
    return f"blank ({score.reason})" if score.probability is None else f"probability {score.probability:.7g}"


def _replay(bundle: Bundle, request: dict[str, Any]) -> Answer:
    exclude = [request["exclude"]] if request.get("exclude") else None
    return bundle.recommend([request["history"]], filter_seen=request["filter_seen"], exclude=exclude)[0]


def golden_requests(path: Path, content: dict[str, bytes]) -> list[dict[str, Any]]:
    """The golden requests of a bundle; a `UserError` when there are none."""
    golden = json.loads(content.get("golden.json", b"{}")).get("requests", [])
    if not golden:
        raise UserError(f"{path} has no golden requests, so nothing can be verified; {AGAIN}")
    return golden


def first_difference(answer: Answer, expected: Sequence[tuple[str, float]]) -> str:
    """Where an answer differs from the expected list by more than the tolerances; "" when it does not."""
    if len(answer) != len(expected):
        return f"{len(answer)} items instead of {len(expected)}"
    known = dict(expected)
    if len(known) != len(expected) or len({item_id for item_id, _ in answer}) != len(answer):
        return "an item is shown twice"
    for rank, ((item_id, score), (wanted, wanted_score)) in enumerate(zip(answer, expected, strict=True), start=1):
        scale = max(1.0, abs(wanted_score))
        if not abs(score - wanted_score) <= SAME_SCORE * scale:
            return f"rank {rank}: score {score:.6g} of '{item_id}' instead of {wanted_score:.6g} of '{wanted}'"
        # An item from beyond the end of the expected list can only stand here as a tie: then its score is this rank's.
        if item_id != wanted and abs(known.get(item_id, score) - wanted_score) > SAME_RANK * scale:
            return f"rank {rank}: item '{item_id}' instead of '{wanted}'"
    return ""
