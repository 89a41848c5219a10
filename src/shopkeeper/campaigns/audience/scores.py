"""Scores of a customer model, as an audience asks for them: whoever comes, leaves, or is worth most stands high.

A model that says who leaves says of the others that they come, and the other way round: P, 1 - P. What it adds up from
changes its sign with it.

Shapes: n customers, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from shopkeeper.campaigns.audience.settings import COMING, LEAVING, WORTH
from shopkeeper.errors import UserError
from shopkeeper.models.about import DAYS, PROBABILITIES
from shopkeeper.models.shares import Contributions

Explain = Callable[
    [np.ndarray], tuple[Contributions, np.ndarray, tuple[str, ...]]
]  # of internal ids: shares, values, names


@dataclass(frozen=True)
class Scores:
    """What a model says of n customers."""

    value: np.ndarray  # float64 (n,): calibrated probability, count or amount; NaN where blank
    blank_reason: np.ndarray  # str object (n,): "" where there is a score
    answers: str  # probabilities, counts or amounts
    low: np.ndarray | None = None  # float64 (n,): the interval that holds four of five
    high: np.ndarray | None = None
    leaving: bool = False  # whether `value` is the probability that nothing is bought
    explain: Explain | None = None  # of customers who have a score, by internal ids
    mirrored: bool = False  # whether shares have the other sign, too
    about: Mapping[str, Any] | None = None  # for the card: run, task, model, quality

    @property
    def buys(self) -> np.ndarray | None:
        """Probability that something is bought, (n,); None of counts and amounts."""
        return None if self.answers != PROBABILITIES else 1 - self.value if self.leaving else self.value

    def contributions(self, customer: np.ndarray) -> tuple[Contributions, np.ndarray, tuple[str, ...]] | None:
        """Of some who have a score (internal ids): what adds up to it, the features' values (len, F), their names."""
        if self.explain is None:
            return None
        found, values, names = self.explain(customer)
        if self.mirrored:
            found = Contributions(-found.base, -found.share, found.unit)
        return found, values, names


def as_asked(scores: Scores, of: str, said: str) -> Scores:
    """The scores so that those whom an audience asks for stand high.

    Args:
        scores: as the model gives them.
        of: what `audience.who.score.of` says.
        said: where the scores are from, for messages.

    Raises:
        UserError: a model of money for an audience of who comes, or the other way round.
    """
    if scores.answers == DAYS:
        raise UserError(f"{said} says when the next order comes, which is no score; give it as waits=…")
    is_chance = scores.answers == PROBABILITIES
    if (of == WORTH) == is_chance:
        kind = "probabilities" if is_chance else scores.answers
        others = "orders or spend" if of == WORTH else "churn or propensity"
        raise UserError(f"audience.who.score.of={of}, and {said} says {kind}; give scores of a task such as {others}")
    if not is_chance or (of == LEAVING) == scores.leaving:
        return scores
    assert of in (COMING, LEAVING)
    return Scores(
        1 - scores.value, scores.blank_reason, scores.answers, leaving=not scores.leaving, explain=scores.explain,
        mirrored=not scores.mirrored, about=scores.about,
    )  # fmt: skip
