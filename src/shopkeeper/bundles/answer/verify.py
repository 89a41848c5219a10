"""Replays a bundle's golden requests and measures how long answers take: `python -m shopkeeper verify <bundle>`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.answers import SAME_SCORE, Answer, agreement, difference
from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.answer.integrity import AGAIN, fitting
from shopkeeper.errors import UserError

RECALL_MARGIN = 0.01  # processors round distances in their own ways


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
    approximate: bool = False  # answered from the bundle's index
    variant: str = ""  # a bundle in fewer bits, whose golden answers are its own

    @property
    def ok(self) -> bool:
        """True when every golden request was answered as by the trained model, or, from an index, as often as told."""
        return not self.wrong

    def __str__(self) -> str:
        exact = "all as the trained model answers"
        right = "found as often as its manifest says" if self.approximate else exact
        if self.variant:
            right = f"all as {self.variant} answered when it was made (card.md: what that costs)"
        state = right if self.ok else f"{len(self.wrong)} DIFFERENT"
        return (
            f"{self.path}: {self.model}, hashes good, {self.requests} golden requests: {state}; "
            f"p50 {self.p50_ms:.2f} ms, p99 {self.p99_ms:.2f} ms, {self.per_second:,.0f} requests/s in one batch"
        )


def verify(path: Path | str, *, repeat: int = 3, threads: int = 1, approximate: bool = False) -> Verification:
    """Load (hashes are checked), replay the golden requests, measure latency over `repeat` rounds of them.

    `approximate`: answers come from the bundle's index.

    Raises:
        UserError: the bundle cannot be loaded. Different answers do not raise: they are in `wrong`.
    """
    path = Path(path)
    bundle = Bundle.load(path, threads=threads, approximate=approximate)
    wrong, golden = wrong_answers(bundle), bundle.golden
    times = []
    for _ in range(repeat):
        for request in golden:
            start = time.perf_counter()
            replay(bundle, request)
            times.append(time.perf_counter() - start)
    start = time.perf_counter()
    as_of = [request.get("as_of") for request in golden]
    bundle.answer([_history(request) for request in golden], None if None in as_of else as_of)
    batch = time.perf_counter() - start
    p50, p99 = np.percentile(np.array(times or [np.nan]) * 1e3, [50, 99])
    model = str(bundle.manifest.get("model"))
    per_second, variant = len(golden) / batch, str((bundle.manifest.get("variant") or {}).get("kind", ""))
    return Verification(path, model, len(golden), wrong, float(p50), float(p99), per_second, approximate, variant)


def wrong_answers(bundle: Bundle) -> list[str]:
    """One line per golden request that is answered differently; a `UserError` where there are none to answer.

    Of a bundle that answers from its index see `missed`.
    """
    if not bundle.golden:
        raise UserError(f"{bundle.path} has no golden requests, so nothing can be verified; {AGAIN}")
    wrong = []
    with fitting(bundle.path):
        told = (bundle.manifest.get("preprocessing") or {}).get("tolerance") or {}
        tolerance = {name: float(told[name]) for name in ("score", "rank") if name in told}
        if bundle.approximate:
            return missed(bundle, tolerance.get("score", SAME_SCORE))
        for position, request in enumerate(bundle.golden):
            got, wanted = replay(bundle, request), Answer.from_json(request["expected"])
            said, where = difference(got, wanted, **tolerance), f"golden request {position}"
            if (place := request.get("placement")) is not None:  # scores are those of places: ids must be the same
                said, where = said or _other_ids(got, wanted), f"{where} of placement={place}"
            if said:
                wrong.append(f"{where}: {said}")
    return wrong


def missed(bundle: Bundle, same_score: float) -> list[str]:
    """What is wrong with answers from an index: a score that is none, or fewer items found than the manifest says.

    The golden answers are the exact ones. An index is right when its lists hold the share of their items that
    `index.recall.golden` of the manifest says, less `RECALL_MARGIN`, with these items' scores; lists of placements are
    made of longer ones, and are not asked here.
    """
    wrong, pairs = [], []
    for position, request in enumerate(bundle.golden):
        if "placement" in request:
            continue
        got, wanted = replay(bundle, request), Answer.from_json(request["expected"])
        pairs.append(([i for i, _ in wanted.items or ()], [i for i, _ in got.items or ()]))
        right = dict(wanted.items or ())
        if wanted.reason is not None and got.reason != wanted.reason:
            wrong.append(f"golden request {position}: {got.reason!r} instead of {wanted.reason!r}")
        for item_id, score in got.items or ():
            exact = right.get(item_id, score)
            if not abs(score - exact) <= same_score * max(1.0, abs(exact)):
                wrong.append(f"golden request {position}: score {score:.6g} of '{item_id}' instead of {exact:.6g}")
                break
    found, told = agreement(pairs)["overlap"], float(bundle.manifest["index"]["recall"]["golden"])
    if found < told - RECALL_MARGIN:
        wrong.append(f"its index finds {found:.4f} of the golden requests' items instead of {told:.4f}")
    return wrong


def replay(bundle: Bundle, request: dict[str, Any]) -> Answer:
    """What a bundle answers to a request as golden.json holds them."""
    told: dict[str, Any] = {key: request[key] for key in ("filter_seen", "placement") if key in request}
    told |= {key: [request[key]] for key in ("exclude", "basket", "category") if request.get(key)}
    return bundle.answer([_history(request)], request.get("as_of"), **told)[0]


def _other_ids(got: Answer, wanted: Answer) -> str:
    listed, right = ([item_id for item_id, _ in one.items or ()] for one in (got, wanted))
    return "" if listed == right else f"{listed} instead of {right}"


def _history(request: dict[str, Any]) -> list[Any]:
    """Its events; older bundles of customer models call them so."""
    history: list[Any] = request["history"] if "history" in request else request["events"]
    return history
