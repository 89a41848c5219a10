"""What a bundle says to one history, whichever family its model is of, and when two answers are as good as the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from shopkeeper.models.about import PROBABILITIES

SAME_SCORE = 1e-4  # largest difference between a score of the runtime and of the trained model
SAME_RANK = 1e-5  # items whose scores lie closer than this may stand in either order
# Both are absolute up to scores of 1, and relative to the score above (counts and sums of similarities).
SAME_PROBABILITY = 1e-6
# Of what is expected (counts, amounts, days) and of further heads; relative to means above 1. A graph's mean amount is
# the exponential of a number in 32 bits: between 8 and 16 its last bit is 1e-6, and by so much of itself, for each
# rounding on the way there, the exponential moves.
SAME_MEAN = 1e-5
SAME_DAYS = 0.01  # of a quantile: where hardly anybody orders, a rounding moves it further than it moves a probability


class Answer(NamedTuple):
    """The best items, best first, or what is said of a customer; and why it is blank, or the fallback list."""

    items: list[tuple[str, float]] | None = None  # ids and scores; None of a model that lists no items
    probability: float | None = None  # None where blank, and of a model that says something else
    reason: str = ""
    expected: float | None = None  # the mean of a count or of an amount; None where blank, and of any other model
    unknown: int = 0  # events of the history whose item the model does not know; of a table: values not known
    quantiles: list[float] | None = None  # of a wait: days, at the manifest's `levels`; None where blank
    further: Mapping[str, float | None] | None = None  # of several heads: what further tasks expect; None where blank
    says: str = "probability"  # or `expected`, or `pairs`: what a blank stands for
    pairs: list[tuple[str, float]] | None = None  # of a customer and each category or item: how probable; None: blank
    fallback: Mapping[str, int] | None = None  # of a placement: how many items, the last ones, are from each fallback

    def as_json(self) -> dict[str, Any]:
        """As golden requests keep it."""
        if self.items is None:
            own: dict[str, Any] = {self.says: self.probability if self.says == "probability" else self.expected}
            if self.says == "pairs":
                said = None if self.pairs is None else [{"subject": name, "probability": p} for name, p in self.pairs]
                return {"pairs": said, "reason": self.reason}
            own |= {} if self.quantiles is None else {"quantiles": self.quantiles}
            own |= {} if self.further is None else {"further": dict(self.further)}
            return {**own, "reason": self.reason}
        filled = {} if self.fallback is None else {"fallback": dict(self.fallback)}
        return {"items": [{"item_id": i, "score": s} for i, s in self.items], "reason": self.reason, **filled}

    @classmethod
    def of_customer(
        cls,
        value: float | None,
        reason: str,
        answers: str | None,
        unknown: int = 0,
        quantiles: list[float] | None = None,
        further: Mapping[str, float | None] | None = None,
    ) -> Answer:
        """`value`: None where blank; `answers`: what it is, as a bundle's manifest says (older ones do not)."""
        beside: dict[str, Any] = {"quantiles": quantiles, "further": further or None}
        if answers in (None, PROBABILITIES):
            return cls(None, value, reason, None, unknown, **beside)
        return cls(None, None, reason, value, unknown, says="expected", **beside)

    @classmethod
    def of_pairs(cls, pairs: list[tuple[str, float]] | None, reason: str, unknown: int = 0) -> Answer:
        """Of a customer and each subject; None where blank."""
        return cls(None, None, reason, None, unknown, says="pairs", pairs=pairs)

    @classmethod
    def from_json(cls, said: Any) -> Answer:
        """What `as_json` gave; also as older bundles have it."""
        if isinstance(said, Mapping) and "pairs" in said:
            listed = said["pairs"] and [(one["subject"], one["probability"]) for one in said["pairs"]]
            return cls.of_pairs(listed, said["reason"])
        if isinstance(said, Mapping) and "items" not in said:
            beside: dict[str, Any] = {key: said.get(key) for key in ("expected", "quantiles", "further")}
            says = "expected" if "expected" in said else "probability"
            return cls(None, said.get("probability"), said["reason"], says=says, **beside)
        listed, reason = (said, None) if isinstance(said, list) else (said["items"], said["reason"])
        filled = said.get("fallback") if isinstance(said, Mapping) else None
        return cls([(e["item_id"], e["score"]) for e in listed], None, reason, fallback=filled)  # type: ignore[arg-type]


def difference(got: Answer, wanted: Answer, score: float = SAME_SCORE, rank: float = SAME_RANK) -> str:
    """Where an answer differs from the one that is wanted by more than the tolerances; "" when it does not."""
    if wanted.reason is not None and got.reason != wanted.reason:  # older bundles do not say why
        return f"{_said(got)} instead of {_said(wanted)}"
    if wanted.fallback is not None and got.fallback != wanted.fallback:  # nor which fallback it was
        return f"filled by {got.fallback} instead of {wanted.fallback}"
    if wanted.items is not None:
        return first_difference(got.items or [], wanted.items, score, rank)
    same = _close(got.probability, wanted.probability) and _close(got.expected, wanted.expected, SAME_MEAN)
    one, other = got.further or {}, wanted.further or {}
    same = same and one.keys() == other.keys() and all(_close(one[name], other[name], SAME_MEAN) for name in one)
    days, known = got.quantiles or [], wanted.quantiles or []
    same = same and len(days) == len(known) and all(abs(a - b) <= SAME_DAYS for a, b in zip(days, known, strict=True))
    mine, right = got.pairs or [], wanted.pairs or []
    same = same and [name for name, _ in mine] == [name for name, _ in right]
    same = same and all(_close(p, q) for (_, p), (_, q) in zip(mine, right, strict=True))
    return "" if same else f"{_said(got)} instead of {_said(wanted)}"


def _close(got: float | None, wanted: float | None, tolerance: float = SAME_PROBABILITY) -> bool:
    if got is None or wanted is None:
        return got is wanted
    return abs(got - wanted) <= tolerance * max(1.0, abs(wanted))


def _said(answer: Answer) -> str:
    if answer.items is not None:
        return f"items ({answer.reason or 'from a history'})"
    more = "".join(f", {name} {value}" for name, value in (answer.further or {}).items())
    more += f", quantiles {answer.quantiles}" if answer.quantiles else ""
    if answer.pairs:
        return ", ".join(f"{name} {p:.7g}" for name, p in answer.pairs)
    if answer.expected is not None:
        return f"{answer.expected:.7g} expected{more}"
    return f"blank ({answer.reason})" if answer.probability is None else f"probability {answer.probability:.7g}{more}"


def first_difference(
    answer: Sequence[tuple[str, float]],
    expected: Sequence[tuple[str, float]],
    same_score: float = SAME_SCORE,
    same_rank: float = SAME_RANK,
) -> str:
    """Where a list differs from the expected one by more than the tolerances; "" when it does not."""
    if len(answer) != len(expected):
        return f"{len(answer)} items instead of {len(expected)}"
    known = dict(expected)
    if len(known) != len(expected) or len({item_id for item_id, _ in answer}) != len(answer):
        return "an item is shown twice"
    for rank, ((item_id, score), (wanted, wanted_score)) in enumerate(zip(answer, expected, strict=True), start=1):
        scale = max(1.0, abs(wanted_score))
        if not abs(score - wanted_score) <= same_score * scale:
            return f"rank {rank}: score {score:.6g} of '{item_id}' instead of {wanted_score:.6g} of '{wanted}'"
        # An item from beyond the end of the expected list can only stand here as a tie: then its score is this rank's.
        if item_id != wanted and abs(known.get(item_id, score) - wanted_score) > same_rank * scale:
            return f"rank {rank}: item '{item_id}' instead of '{wanted}'"
    return ""


def agreement(pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> dict[str, float]:
    """Mean share of each exact list (first of a pair) that is in the other, and share of lists equal item by item."""
    asked = [(exact, other) for exact, other in pairs if exact]
    overlap = [len({*exact} & {*other}) / len(exact) for exact, other in asked]
    return {
        "overlap": sum(overlap) / max(1, len(overlap)),
        "same_lists": sum([*a] == [*b] for a, b in asked) / max(1, len(asked)),
    }
