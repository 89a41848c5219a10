"""Customers of a table, divided into those a model learns from, those it is chosen and calibrated on, and test's.

By chance, stratified: along the label every part gets its share of every stretch of it. Or by the time of the rows,
where the table has one: the newest are test, those before them validation.

Where the table is small, test is asked in folds: every customer who is not validation's belongs to one, and is judged
by a model that has learnt from the other folds. Validation is one part all the same, so that what chooses settings and
fits the calibration is never what test is judged by.

Shapes: n customers with a label.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from shopkeeper.errors import Rule, UserError, check, nearest, number, one_of, or_null, whole
from shopkeeper.timeline import SplitSettings

NAME = "customers"  # of conf/split
BY_CHANCE, BY_TIME = "customers", "time"
SMALL, FOLDS = 20_000, 5  # with fewer customers test is asked in so many folds


@dataclass(frozen=True)
class PeopleSpec:
    """The settings of `split=customers`."""

    by: str = BY_CHANCE
    folds: int | None = None  # None: FOLDS where there are fewer than SMALL customers, else one part of `test_share`
    test_share: float = 0.2  # of all customers, where test is not asked in folds
    validation_share: float = 0.2
    seed: int = 0

    RULES: ClassVar[dict[str, Rule]] = {
        "by": one_of(BY_CHANCE, BY_TIME),
        "folds": or_null(whole(1)),
        **dict.fromkeys(("test_share", "validation_share"), number(above=True, below=1)),
        "seed": whole(0),
    }

    @classmethod
    def of(cls, told: SplitSettings) -> PeopleSpec:
        """From the settings of a split; a `UserError` names one that is none of these."""
        if told.name != NAME:
            raise UserError(
                f"split={told.name} divides a log, and this dataset is a table of customers; use split={NAME}"
            )
        known = {f.name for f in fields(cls)}
        others = {"name", "kind", "protocol", "target_events", "k_core"}
        for key in told.given:
            if key not in known | others:
                raise UserError(f"split={NAME}: there is no setting '{key}'.{nearest(str(key), known)}")
        values = {key: value for key, value in told.given.items() if key in known}
        check(values, cls.RULES, "split.")
        return cls(**values)


@dataclass(frozen=True)
class People:
    """Positions of customers by part, int64, ascending."""

    train: np.ndarray  # whom the model learns from that is asked about validation: all that is neither part nor test
    validation: np.ndarray
    folds: tuple[np.ndarray, ...]  # of test; with several, `train` holds them all
    in_words: str

    @property
    def test(self) -> np.ndarray:
        """Everybody whom test asks about."""
        return np.sort(np.concatenate(self.folds))


def divide(label: np.ndarray, time: np.ndarray | None, spec: PeopleSpec) -> People:
    """The parts of customers whose label (float64 (n,)) is not NaN; `time` int64 (n,) µs, where rows have one.

    Raises:
        UserError: by time without times, or too few customers for a part.
    """
    rows = np.flatnonzero(~np.isnan(label))
    n = len(rows)
    if spec.by == BY_TIME:
        if time is None:
            raise UserError("split.by=time needs a column of times: name it in columns.timestamp of the dataset")
        if (spec.folds or 1) > 1:
            raise UserError(
                "split.folds asks customers by chance, and split.by=time by the clock; leave one of them out"
            )
        at = time[rows]
        newest = np.sort(at)
        border = newest[min(n - 1, round(n * (1 - spec.test_share)))] if n else 0
        earlier = newest[newest < border]
        first = (
            earlier[min(len(earlier) - 1, round(n * (1 - spec.test_share - spec.validation_share)))]
            if len(earlier)
            else 0
        )
        test, validation = rows[at >= border], rows[(at < border) & (at >= first)]
        train, folds = rows[at < first], [test]
        words = (
            f"by time: the newest {spec.test_share:.0%} are test, {spec.validation_share:.0%} before them validation"
        )
    else:
        rng = np.random.default_rng(spec.seed)
        along = rows[np.lexsort((rng.random(n), label[rows]))]  # by label, in random order where it is the same
        chosen = _every(n, spec.validation_share, rng)
        validation, rest = along[chosen], along[~chosen]
        k = spec.folds or (FOLDS if n < SMALL else 1)
        if k > 1:
            train, folds = rest, [rest[np.arange(len(rest)) % k == fold] for fold in range(k)]
            words = f"by customer: {spec.validation_share:.0%} validation, the others test in {k} folds"
        else:
            chosen = _every(len(rest), min(1.0, spec.test_share / (1 - spec.validation_share)), rng)
            train, folds = rest[~chosen], [rest[chosen]]
            words = f"by customer: {spec.test_share:.0%} test, {spec.validation_share:.0%} validation"
    if min(map(len, (train, validation, *folds))) == 0:
        raise UserError(f"{n} customers with a label are too few to divide ({words}); lower split.folds or the shares")
    ordered = tuple(np.sort(part) for part in folds)
    return People(np.sort(train), np.sort(validation), ordered, words)


def _every(n: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """A mask (n,) of a share of n in even steps, from a random start on."""
    steps = np.floor((np.arange(n + 1) + rng.random() / share) * share + 1e-9)
    return np.asarray(np.diff(steps) > 0)
