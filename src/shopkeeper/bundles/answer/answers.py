"""What a bundle says to one history, whichever family its model is of, and when two answers are as good as the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

SAME_SCORE = 1e-4  # largest difference between a score of the runtime and of the trained model
SAME_RANK = 1e-5  # items whose scores lie closer than this may stand in either order
# Both are absolute up to scores of 1, and relative to the score above (counts and sums of similarities).
SAME_PROBABILITY = 1e-6


class Answer(NamedTuple):
    """The best items, best first, or a probability; and why it is blank, or why the fallback list is all there is."""

    items: list[tuple[str, float]] | None = None  # ids and scores; None of a model that lists no items
    probability: float | None = None  # None where blank, and of a model that lists items
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """As golden requests keep it."""
        if self.items is None:
            return {"probability": self.probability, "reason": self.reason}
        return {"items": [{"item_id": i, "score": s} for i, s in self.items], "reason": self.reason}

    @classmethod
    def from_json(cls, said: Any) -> Answer:
        """What `as_json` gave; also as older bundles have it."""
        if isinstance(said, Mapping) and "items" not in said:
            return cls(None, said["probability"], said["reason"])
        listed, reason = (said, None) if isinstance(said, list) else (said["items"], said["reason"])
        return cls([(e["item_id"], e["score"]) for e in listed], None, reason)  # type: ignore[arg-type]


def difference(got: Answer, wanted: Answer) -> str:
    """Where an answer differs from the one that is wanted by more than the tolerances; "" when it does not."""
    if wanted.reason is not None and got.reason != wanted.reason:  # older bundles do not say why
        return f"{_said(got)} instead of {_said(wanted)}"
    if wanted.items is not None:
        return first_difference(got.items or [], wanted.items)
    if got.probability is None or wanted.probability is None:
        same = got.probability == wanted.probability
    else:
        same = abs(got.probability - wanted.probability) <= SAME_PROBABILITY
    return "" if same else f"{_said(got)} instead of {_said(wanted)}"


def _said(answer: Answer) -> str:
    if answer.items is not None:
        return f"items ({answer.reason or 'from a history'})"
    return f"blank ({answer.reason})" if answer.probability is None else f"probability {answer.probability:.7g}"


def first_difference(answer: Sequence[tuple[str, float]], expected: Sequence[tuple[str, float]]) -> str:
    """Where a list differs from the expected one by more than the tolerances; "" when it does not."""
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
