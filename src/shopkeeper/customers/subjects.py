"""Asked of a customer and a category, or an item: will he buy of it? One row for each pair.

A cohort of customers becomes one of pairs: each row stands once for each subject, with what was known of the customer,
of the two together, and of the subject in the whole shop. Models answer from these features and need not know more.

Shapes: n rows (customer, cutoff), C subjects, n * C pairs in the order of rows, M events of the histories of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from shopkeeper.customers.base import Cohort
from shopkeeper.customers.folds import rows_of
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.ranges import lower_bound
from shopkeeper.errors import UserError, nearest
from shopkeeper.features.subject_pairs import KNOWN, Shares, blocks, of_pairs
from shopkeeper.schema import EVENT_CODE, MICROSECONDS_PER_DAY
from shopkeeper.timeline import floor_day

CATEGORY, ITEM = "category", "item"
YEAR = 365  # days


@dataclass(frozen=True)
class Subjects:
    """What is asked about beside the customer."""

    names: tuple[str, ...]
    of_item: np.ndarray  # int32 (n_items + 1,): the subject of each item, from 1; 0: none
    since: np.ndarray  # int64 (n_items + 1,) µs: that is known strictly after this instant
    kind: str = ""  # category or item


def subjects_of(prepared: Prepared, kind: str, wanted: Sequence[str], most: int, before: int) -> Subjects:
    """Those that are named or, where none is, those with the most purchase lines before an instant.

    Args:
        prepared: the dataset.
        kind: `category` or `item`.
        wanted: names of categories, or external ids of items.
        most: how many, where none is named.
        before: µs; nothing from then on says which they are.

    Raises:
        UserError: the dataset has no categories, a name is none of its own, or nothing was bought.
    """
    n_items = prepared.n_items
    since = np.full(n_items + 1, np.iinfo(np.int64).min)
    if kind == ITEM:
        names = prepared.items["item_id"].to_pylist()
        code = np.arange(n_items + 1)
    else:
        column = prepared.items["category"].to_pylist() if "category" in prepared.items.column_names else []
        told = ["" if value is None else str(value).strip() for value in column]
        names = sorted({name for name in told if name})
        if not names:
            raise UserError(
                f"dataset={prepared.name} has no categories of items; choose task=item_propensity or name their column "
                f"in the dataset's items"
            )
        place = {name: number for number, name in enumerate(names, 1)}
        code = np.zeros(n_items + 1, np.int64)
        code[prepared.items["item"].to_numpy()] = [place.get(name, 0) for name in told]
        known = prepared.known_since("items", "category")
        since = since if known is None else known[: n_items + 1]
    if unknown := [name for name in wanted if name not in set(names)]:
        raise UserError(
            f"task.subjects: dataset={prepared.name} has no {kind} '{unknown[0]}'.{nearest(unknown[0], names)}"
        )
    if wanted:
        chosen = [names.index(name) + 1 for name in dict.fromkeys(wanted)]
    else:
        time = prepared.events.timestamp
        assert time is not None
        row = (time < before) & (prepared.events.event_type == EVENT_CODE["purchase"])
        lines = np.bincount(code[prepared.events.item[row]], minlength=len(names) + 1)[1:]
        order = np.argsort(-lines, kind="stable")[:most] + 1
        chosen = sorted(order[lines[order - 1] > 0].tolist())
        if not chosen:
            raise UserError(f"dataset={prepared.name}: nothing was bought early enough to choose; name task.subjects")
    number = np.zeros(len(names) + 1, np.int32)
    number[chosen] = np.arange(1, len(chosen) + 1)
    return Subjects(tuple(names[one - 1] for one in chosen), number[code], since, kind)


def paired(
    prepared: Prepared,
    cohort: Cohort,
    subjects: Subjects,
    truth: Callable[[np.ndarray], np.ndarray],
    shares: Shares | None = None,
) -> Cohort:
    """The cohort of pairs; `truth`: (n * C,) purchase lines of the subject in the window -> label.

    Rows of customers who have one are labelled anew; the dataset must be the one that the cohort was built from.
    """
    C = len(subjects.names)
    features = np.column_stack(
        [np.repeat(cohort.features, C, axis=0), pair_features(prepared, cohort, subjects, shares)]
    )
    row = np.repeat(np.arange(len(cohort)), C)
    label = None
    if cohort.label is not None:
        time = prepared.events.timestamp
        assert time is not None
        horizon = round(cohort.horizon_days * MICROSECONDS_PER_DAY)
        last = lower_bound(time, cohort.end, prepared.offsets[cohort.customer], cohort.cutoff + horizon)
        held = np.zeros(len(cohort) * C, np.int64)
        for some, owner, events in blocks(prepared.events, cohort.end, last):
            code = subjects.of_item[prepared.events.item[events]]
            there = (code > 0) & (prepared.events.event_type[events] == EVENT_CODE["purchase"])
            pair = owner[there] * C + code[there] - 1
            held[some.start * C : some.stop * C] = np.bincount(pair, minlength=(some.stop - some.start) * C)
        label = truth(held)
    return replace(
        rows_of(replace(cohort, label=None), row),
        features=features,
        feature_names=(*cohort.feature_names, *KNOWN),
        label=label,
        subject=np.tile(np.arange(1, C + 1, dtype=np.int32), len(cohort)),
        subjects=subjects.names,
        subject_kind=subjects.kind,
    )


def pair_features(prepared: Prepared, cohort: Cohort, subjects: Subjects, shares: Shares | None = None) -> np.ndarray:
    """What was known of each pair strictly before its cutoff: float64 (n * C, features), as `KNOWN` names them.

    `shares`: what the whole shop bought, of each row (n, C); None: as this dataset says.
    """
    at = np.unique(cohort.cutoff)
    if shares is None:
        row = np.searchsorted(at, cohort.cutoff)
        shares = tuple(share[row] for share in shop_shares(prepared, at, subjects))  # type: ignore[assignment]
    told = (cohort.start, cohort.end, cohort.cutoff, subjects.of_item, subjects.since, len(subjects.names))
    return of_pairs(prepared.events, *told, shares)  # type: ignore[arg-type]


def shop_shares(prepared: Prepared, cutoffs: np.ndarray, subjects: Subjects) -> tuple[np.ndarray, np.ndarray]:
    """Each subject's share of all purchase lines of the 30 days before each cutoff's day, and of the 30 days that
    followed the same day a year before (NaN where nothing was bought): float64 (cutoffs, C) each.

    A day begins at the shop's midnight, so that what is said at noon rests on no purchase of the morning: a bundle
    knows the shares of days, made at night, and says what evaluation says at whatever time of day it is asked.
    """
    e, C = prepared.events, len(subjects.names)
    assert e.timestamp is not None
    cutoffs = np.array([floor_day(t, prepared.zone) for t in cutoffs.tolist()], np.int64)
    row = np.flatnonzero(e.event_type == EVENT_CODE["purchase"])
    row = row[np.argsort(e.timestamp[row], kind="stable")]
    time, item = e.timestamp[row], e.item[row]
    month = 30 * MICROSECONDS_PER_DAY
    shares = []
    for ago in (0, YEAR * MICROSECONDS_PER_DAY - month):
        low, high = (np.searchsorted(time, cutoffs - ago - back) for back in (month, 0))
        share = np.full((len(cutoffs), C), np.nan)
        for k, cutoff in enumerate(cutoffs.tolist()):
            some = item[low[k] : high[k]]
            code = np.where(subjects.since[some] < cutoff, subjects.of_item[some], 0)
            if len(some):
                share[k] = np.bincount(code, minlength=C + 1)[1:] / len(some)
        shares.append(share)
    return shares[0], shares[1]
