"""What a model is, as it says itself. Nothing about a model is asked in any other way: not by looking whether it has a
method, not by how its name begins.

    class Recency:
        about = About(reads=("event_type",))

It is an attribute of the class or, where it depends on settings or on what was learned, of the model.
`tests/test_every_model.py` holds every model of this project to what it says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shopkeeper.errors import UserError, nearest
from shopkeeper.schema import EVENT_TYPES

REQUESTS, CUSTOMERS = "requests", "customers"  # what tasks are asked of
SCORES, VECTORS, LISTS = "scores", "vectors", "lists"
PROBABILITIES, COUNTS, AMOUNTS, DAYS = "probabilities", "counts", "amounts", "days"
OF_CUSTOMERS = (PROBABILITIES, COUNTS, AMOUNTS, DAYS)
ANSWERS = {**dict.fromkeys((SCORES, VECTORS, LISTS), REQUESTS), **dict.fromkeys(OF_CUSTOMERS, CUSTOMERS)}
COLUMNS = ("event_type", "timestamp", "price", "quantity", "order", "session", "channel")  # of `data.requests.Events`
NEEDS = ("features", "dataset", "nightly")
ORACLES = ("", "observable", "latent")


@dataclass(frozen=True)
class About:
    """What a model declares.

    `answers`: with `scores` it has `score(requests)`; with `vectors` also `encode`, `item_vectors` and `fallback`, and
    is multiplied in tiles; with `lists` only `recommend(requests, k)`; with `probabilities`,
    `counts`, `amounts` or `days` it is a customer model.
    """

    answers: str = SCORES
    also: tuple[str, ...] = ()  # what else a customer model answers with, where the task asks for it
    reads: tuple[str, ...] = ()  # of a history, beside its items: some of `COLUMNS`; no other changes an answer
    types: tuple[str, ...] | None = None  # event types of a history that count; None: all
    # features: of a cohort; dataset: a customer model's `bind(prepared)`, before `fit`; nightly: Requests.nightly
    needs: tuple[str, ...] = ()
    reaches: bool = False  # its scores are a sparse table and one order for the rest: `recommenders.reached`
    # whether a customer model answers of a customer and what else is asked about (a category, a session), from features
    pairs: bool = False
    sessions: bool = (
        False  # whether one answers of sessions from histories that end with the event after which is asked
    )
    further: bool = False  # whether a customer model learns further tasks at once, from `Cohort.further`
    # whether a customer model learns from the labels of its training rows; if not, from the whole log until they end
    labelled: bool = True
    reads_instant: bool = False  # reads Requests.instant: stands on its own leaderboard
    chooses: bool = False  # a customer model's `choose(cohort)` keeps the candidate that validation bears out
    resumes: bool = False  # trains in epochs and keeps checkpoints in Fit.folder
    starts_warm: bool = False  # reads Fit.init_from, a run of its own
    starts_from: tuple[str, ...] = ()  # or, of a customer model, a run of one of these targets: a recommender's encoder
    explains: bool = False  # a customer model's `contributions(cohort)` say what each feature adds to a score
    oracle: str = ""  # knows a simulated shop's rules and what was observable, or its latent truth: a ceiling, no rival
    not_exported: str = ""  # why no bundle is made of it; "": one is

    def __post_init__(self) -> None:
        for name, said, known in (
            ("answers", (self.answers,), ANSWERS), ("also", self.also, OF_CUSTOMERS),
            ("reads", self.reads, COLUMNS), ("needs", self.needs, NEEDS),
            ("types", self.types or (), EVENT_TYPES), ("oracle", (self.oracle,), ORACLES),
        ):  # fmt: skip
            if unknown := [one for one in said if one not in known]:
                raise UserError(f"About.{name}: there is no '{unknown[0]}'.{nearest(str(unknown[0]), known)}")

    @property
    def asks(self) -> str:
        """Of what the tasks are asked that it can serve: `requests` or `customers`."""
        return ANSWERS[self.answers]


@dataclass(frozen=True)
class Learned:
    """What a fit tells beside the model; one that only counts tells nothing and may return None."""

    steps: int | None = None  # epochs or trees that validation chose
    plan: Mapping[str, Any] | None = None  # how the arithmetic was carried out: what makes the run again
    history: Sequence[Mapping[str, float]] = field(default=())  # a row per epoch, those before a resume included
    chosen: str = ""  # which of several candidates validation chose
    settings: Mapping[str, Any] = field(
        default_factory=dict
    )  # what those that said `auto` have become, and figures by which
    epochs: tuple[int, ...] = ()  # whose mean validation kept, up to `steps`; none: that epoch's weights as they were

    @property
    def left_open(self) -> dict[str, Any]:
        """All that was left to the data: the candidate that validation chose, and settings that said `auto`."""
        return {**({"candidate": self.chosen} if self.chosen else {}), **self.settings}


def in_words(settings: Mapping[str, Any]) -> str:
    """Settings as a command takes them.

    >>> in_words({"half_life_events": 2.0, "self_similarity": None, "every_time": True})
    'half_life_events=2, self_similarity=null, every_time=true'
    """
    words = {"None": "null", "True": "true", "False": "false"}
    shown = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in settings.items()}
    return ", ".join(f"{name}={words.get(value, value)}" for name, value in shown.items())


def parts_in_words(auto: Mapping[str, Mapping[str, Any]]) -> str:
    """What was left to the data, by part, in one line: a part apart only where another fit answered it otherwise.

    >>> parts_in_words({"validation": {"neighbours": 50}, "test": {"neighbours": 200}})
    'neighbours=50 (validation); neighbours=200 (test)'
    """
    said = {part: in_words(settings) for part, settings in auto.items()}
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return "; ".join(f"{words} ({part})" for part, words in said.items())
