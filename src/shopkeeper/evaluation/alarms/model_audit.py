"""The leak audit of models: what a model answers, and what it learned, must not move with what it may not know.

`audit_answers` (always, on a sample of the requests) puts the same histories to a recommender twice, the second time
among rows of another content: what happens at or after the request's instant, what a session's request does not hand
out, other customers' rows. `audit_predictions` does the same for customer models. `audit_learning` (`audit=full`) lets
a new model learn from a log with another future and compares its answers. All of them look from outside: a model needs
nothing but what its contract asks for.

Shapes: B requests, R rows of their histories, n rows of a cohort.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from shopkeeper.customers.base import Cohort
from shopkeeper.customers.folds import rows_of
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Events, Requests, Targets
from shopkeeper.data.split import Split
from shopkeeper.models.about import SCORES, VECTORS
from shopkeeper.schema import MICROSECONDS_PER_DAY
from shopkeeper.splits.audit_error import AuditError
from shopkeeper.splits.perturb import perturb_after, perturb_rows
from shopkeeper.splits.steps import training_mask
from shopkeeper.timeline import iso

AROUND = 8  # rows of another content before and after each history
SHARE = 200  # one request of so many is asked again: the audit costs about a hundredth of the evaluation
LEAST, MOST = 16, 256  # requests of a part that are asked again
SCORE_BYTES = 128 << 20  # bytes of the scores that are held at once
NIGHTS = 8  # whose requests are asked again with other demand from then on
TOLERANCE = 1e-4  # of the range of the scores: sums of floats depend on what else is in a batch
THEN = "Mend the model: it may read the history that a request hands out and split.training_rows(), nothing else"


def audit_answers(model: Any, name: str, split: Split, parts: tuple[str, ...] = ("validation", "test")) -> None:
    """Ask some requests of each part again among other rows, and in smaller batches; every answer must stay.

    Raises:
        AuditError: naming the model, with the number of requests whose answers moved.
    """
    found = []
    for part in parts:
        requests, _ = split.part(part)
        if len(requests) == 0:
            continue
        asked = sample_of(requests, split.prepared.n_items)
        if moved := _moves(model, asked, split.prepared.n_items):
            found.append(f"{moved[0]} of {len(asked)} answers to {part} requests {moved[1]}")
    if found:
        raise AuditError(name, found, "model", THEN)


def _moves(model: Any, asked: Requests, n_items: int) -> tuple[int, str] | None:
    """How many answers change, and with what; None: not one does."""
    said, rng = _answers(model, asked), np.random.default_rng(0)
    for _ in range(max(1, min(8, LEAST // len(asked)))):  # with few requests a chance find must not hide a leak
        other = elsewhere(asked, n_items, rng)
        if "nightly" not in model.about.needs:
            other = replace(other, nightly=None)
        elif n := _moves_with_later_nights(model, asked, said, n_items, rng):
            return n, "change with what other customers did from the midnight before the request on"
        if (n := _moved(said, _answers(model, other)).sum()) and _moved(said, _answers(model, asked)).any():
            return n, "are not the same when asked twice"
        if n:
            return n, "change with rows that the request does not hand out, such as what happens from its instant on"
        half = len(asked) // 2
        apart = [_answers(model, some) for some in (other[:half], other[half:]) if len(some)]
        if n := _moved(said, np.concatenate(apart)).sum():
            return n, "depend on what else is asked"
        if other.instant is not None and not model.about.reads_instant:
            later = other.instant + rng.integers(1, 60 * MICROSECONDS_PER_DAY, len(other))
            if n := _moved(said, _answers(model, replace(other, instant=later))).sum():
                return n, "change with the instant, which the model says it does not read (about.reads_instant)"
    return None


def _moves_with_later_nights(
    model: Any, asked: Requests, said: np.ndarray, n_items: int, rng: np.random.Generator
) -> int:
    """How many answers change with what a nightly job could not yet know; asked of some nights."""
    if asked.nightly is None or asked.instant is None:
        return 0
    night_B, n = asked.nightly.nights(asked.instant), 0
    for night in rng.permutation(np.unique(night_B))[:NIGHTS]:
        rows = np.flatnonzero(night_B == night)
        other = replace(asked.take(rows), nightly=asked.nightly.changed_from(int(night), n_items, rng))
        n += int(_moved(said[rows], _answers(model, other)).sum())
    return n


def audit_predictions(model: Any, name: str, cohort: Cohort) -> None:
    """Ask about some customers again: with other events from the cutoff on, and with turned labels.

    Raises:
        AuditError: naming the model.
    """
    n = len(cohort)
    rows = _chosen(n)
    asked = rows_of(cohort, rows)
    said = np.asarray(model.predict(asked).value, np.float64)[:, None]
    requests = Requests(cohort.events, cohort.start[rows], cohort.end[rows], instant=cohort.cutoff[rows])
    n_items = int(cohort.events.item.max(initial=1))
    other = elsewhere(requests, n_items, np.random.default_rng(0))
    label = None if asked.label is None else 1 - asked.label
    changed = replace(asked, events=other.events, start=other.start, end=other.end, label=label)
    half = len(rows) // 2
    apart = [
        np.asarray(model.predict(rows_of(changed, np.arange(a, b))).value, np.float64)[:, None]
        for a, b in ((0, half), (half, len(rows)))
        if b > a
    ]
    moved = _moved(said, np.concatenate(apart))
    if moved.any():
        raise AuditError(
            name,
            [f"{moved.sum()} of {len(rows)} answers change with labels, or with events at or after the cutoff"],
            "model",
            "Mend the model: it may read features and rows start:end of a cohort, nothing else",
        )


def same_predictions(model: Any, again: Any, name: str, cohort: Cohort, what: str) -> None:
    """Two fits of a customer model, on logs that differ only in what it may not know, say the same of a cohort.

    Raises:
        AuditError: naming the model and `what` it was fitted for.
    """
    moved = _moved(*(np.asarray(m.predict(cohort).value, np.float64)[:, None] for m in (model, again)))
    if moved.any():
        found = f"{moved.sum()} of {len(moved)} answers change when what it may not know changes ({what})"
        raise AuditError(
            name, [found], "model", "Mend the fit: it may see the training cutoffs, for test the calibration's, too"
        )


@dataclass(frozen=True)
class _OtherFuture(Split):
    """A split of a log with another future. Validation, which may choose when to stop, is asked as it was."""

    original: Split | None = None
    model: str = ""

    def part(self, name: str) -> tuple[Requests, Targets]:
        """The original's validation requests; test is none of a fit's business."""
        assert self.original is not None
        if name == "validation":
            return self.original.part(name)
        raise AuditError(self.model, ["it asks for the test requests while it learns"], "model", THEN)


def audit_learning(
    learn: Callable[[Prepared, Split, bool], Any], trained: Any, name: str, split: Split, seed: int = 0
) -> dict[str, Any]:
    """Learn once more, from a log whose rows at and after the training cutoff are others: the answers must stay.

    Args:
        learn: a newly made model, fitted on the data given as the trained one was; with its last argument true for a
            few epochs only, of a model that trains in epochs (`resumes`).
        trained: the trained model.
        name: what to call it.
        split: what it was trained on.
        seed: of the perturbation.

    Raises:
        AuditError: naming the model.
    """
    short = trained.about.resumes
    then = learn(split.prepared, split, True) if short else trained
    other = another_future(split, name, seed)
    model = learn(other.prepared, other, short)
    asked = [sample_of(split.part(part)[0], split.prepared.n_items) for part in ("validation", "test")]
    asked.append(_strangers(split))
    moved = np.concatenate([_moved(_answers(then, r), _answers(model, r)) for r in asked if len(r)])
    where = _where(split)
    if moved.any():
        found = f"{moved.sum()} of {len(moved)} answers change when it learns from a log that differs only {where}"
        raise AuditError(name, [found], "model", THEN)
    return {"passed": True, "perturbed": where, "compared": f"{len(moved)} answers of {name}"}


def another_future(split: Split, model: str, seed: int = 0) -> Split:
    """The split on a log with the same customers, items and training rows, and other rows everywhere else.

    `model` is named where it asks for the test requests.
    """
    p = split.prepared
    cutoffs = split.timeline.get("cutoffs") or {}
    if "validation" in cutoffs:
        changed = perturb_after(p, int(cutoffs["validation"]["us"]), seed, grow=False)
    else:
        changed = perturb_rows(p, ~training_mask(p.offsets, np.asarray(split.train_end)), seed, grow=False)
    train_end = changed.offsets[:-1] + (split.train_end - p.offsets[:-1])
    about: dict[str, Any] = {"validates": split.validates, "beside": split.beside, "original": split, "model": model}
    return _OtherFuture(split.path, changed, split.timeline, train_end, split.catalogue, **about)


def elsewhere(requests: Requests, n_items: int, rng: np.random.Generator) -> Requests:
    """The same requests in arrays of their own, each history between `AROUND` rows of other content.

    Where the log has a row before or after the history, the item of the row that replaces it is another one.
    """
    offsets, rows = requests.flat()
    B, lengths = len(requests), requests.lengths
    start = offsets[:-1] + AROUND * (2 * np.arange(B) + 1)
    own = np.arange(len(rows)) + np.repeat(start - offsets[:-1], lengths)  # where the histories lie now
    step = np.arange(AROUND)
    place = np.concatenate([start[:, None] - AROUND + step, (start + lengths)[:, None] + step], axis=1)  # of the rest
    there = np.concatenate([requests.start[:, None] - AROUND + step, requests.end[:, None] + step], axis=1)
    events = requests.events
    there = np.clip(there, 0, len(events.item) - 1)  # the rows of the log that they stand for
    columns: dict[str, np.ndarray | None] = {}
    for name, column in vars(events).items():
        if column is None:
            columns[name] = None
            continue
        values = np.zeros(len(rows) + 2 * AROUND * B, column.dtype)
        values[own] = column[rows]
        if name == "item":
            drawn = (column[there] - 1 + rng.integers(1, max(n_items, 2), there.shape)) % n_items + 1
        elif name == "timestamp":
            drawn = _times(requests, values, start, lengths, rng)
        elif name in ("price", "quantity"):
            drawn = rng.uniform(0.01, 1000, there.shape)
        else:
            drawn = rng.choice(np.unique(np.concatenate([column[there].ravel(), column[rows]])), there.shape)
        values[place] = drawn
        columns[name] = values
    return replace(requests, events=Events(**columns), start=start, end=start + lengths)  # type: ignore[arg-type]


def _times(
    requests: Requests, values: np.ndarray, start: np.ndarray, lengths: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Instants of the rows around each history, int64 (B, 2 AROUND): before its first, and from its end on."""
    some = lengths > 0
    at = np.zeros(len(lengths), np.int64) if requests.instant is None else requests.instant
    first = np.where(some, values[np.minimum(start, len(values) - 1)], at)
    last = np.where(some, values[start + lengths - 1], at) if requests.instant is None else at
    gaps = np.cumsum(rng.integers(0, 3 * MICROSECONDS_PER_DAY, (len(lengths), 2 * AROUND)), axis=1)
    before = first[:, None] - gaps[:, AROUND - 1 :: -1]
    return np.concatenate([before, last[:, None] + gaps[:, :AROUND]], axis=1)


def _answers(model: Any, requests: Requests) -> np.ndarray:
    """What the evaluation would read of a model: vectors or scores, float64 (B, …), or lists of ids, int64 (B, 10)."""
    if model.about.answers == VECTORS:
        vector_BD, blank_B = model.encode(requests)
        return np.column_stack([np.where(blank_B[:, None], 0, vector_BD), blank_B]).astype(np.float64)
    if model.about.answers == SCORES:
        return np.asarray(model.score(requests), np.float64)
    return np.asarray(model.recommend(requests, 10), np.int64)


def _moved(said: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Which rows differ, numbers by more than rounding and ids at all: bool (B,). NaN is equal to NaN; other widths
    are all different.
    """
    if said.shape != now.shape:
        return np.ones(max(len(said), len(now)), bool)
    if said.dtype.kind == "i":
        return np.asarray((said != now).any(axis=1))
    spread = float(np.ptp(said[np.isfinite(said)])) if np.isfinite(said).any() else 0.0
    with np.errstate(invalid="ignore"):
        same = (said == now) | (np.abs(said - now) <= TOLERANCE * spread) | (np.isnan(said) & np.isnan(now))
    return np.asarray(~same.all(axis=1))


def sample_of(requests: Requests, n_items: int) -> Requests:
    """Some of the requests, by chance and always the same: as many as are asked again."""
    return requests.take(_chosen(len(requests), _fitting(n_items)))


def _fitting(n_items: int) -> int:
    """How many rows of scores are held at once."""
    return max(4, min(MOST, SCORE_BYTES // (8 * (n_items + 1))))


def _chosen(n: int, most: int = MOST) -> np.ndarray:
    """Some of n, spread over all of them by chance, always the same, in ascending order."""
    size = min(n, most, max(LEAST, n // SHARE))
    return np.sort(np.random.default_rng(0).permutation(n)[:size])


def _strangers(split: Split) -> Requests:
    """Histories of one item each, of up to `MOST` items of the catalogue, and the empty one."""
    items = split.catalogue[:: -(-len(split.catalogue) // _fitting(split.prepared.n_items))]
    kind = int(np.bincount(split.prepared.events.event_type[:1000]).argmax())
    histories = [[int(i)] for i in items] + [[]]
    types, times = [[kind] * len(h) for h in histories], [[0] * len(h) for h in histories]
    return Requests.from_histories(histories, types, times, [MICROSECONDS_PER_DAY] * len(histories))


def _where(split: Split) -> str:
    cutoffs = split.timeline.get("cutoffs") or {}
    return f"at and after {iso(cutoffs['validation']['us'])}" if "validation" in cutoffs else "outside of training"
