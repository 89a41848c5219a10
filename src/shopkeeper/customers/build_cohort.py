"""Cohorts from a prepared dataset: who is asked about at each cutoff, what was known, and what they then did.

Churn, as defined here: a customer with a purchase in [t - active, t) has *churned* at cutoff t (label 1) when no
purchase follows in [t, t + horizon). A purchase that is returned later counts as a purchase, in the active window
and in the label window alike: the customer came. (Netting it would need events from after the window.) Returns
alone count for neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.compute as pc

from shopkeeper.customers.base import Cohort, Further
from shopkeeper.customers.window import LINES, Held, holding, running_total
from shopkeeper.data.consent import Consent
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.ranges import lower_bound
from shopkeeper.data.requests import Events
from shopkeeper.errors import UserError
from shopkeeper.features.customer.compute import FeatureTable, customer_features
from shopkeeper.features.customer.declared import USUAL, Features, beside
from shopkeeper.features.customer.known import shop_of, without_lacking
from shopkeeper.models.about import PROBABILITIES
from shopkeeper.schema import MICROSECONDS_PER_DAY
from shopkeeper.timeline import floor_day, iso

Truth = Callable[[np.ndarray], np.ndarray]
SAYS_NOTHING = "customers whose window does not say what is asked"


class NobodyAskedError(UserError):
    """Nobody is active, agrees, or has a window that says what is asked: `left_out` says why, for who asks at other
    cutoffs, too.
    """

    def __init__(self, message: str, left_out: Mapping[str, int]) -> None:
        super().__init__(message)
        self.left_out = dict(left_out)


def stayed_away(bought: np.ndarray) -> np.ndarray:
    """1 where nothing was bought."""
    return (bought == 0).astype(np.float64)


def came_back(bought: np.ndarray) -> np.ndarray:
    """1 where something was bought."""
    return (bought > 0).astype(np.float64)


def mostly(share: np.ndarray) -> np.ndarray:
    """1 where at least half of it; NaN where nothing is known."""
    return np.where(np.isnan(share), np.nan, share >= 0.5)


def as_it_is(held: np.ndarray) -> np.ndarray:
    """As many orders, or as much money, as the window holds."""
    return held.astype(np.float64)


def build_cohort(
    prepared: Prepared,
    cutoffs: int | Sequence[int],
    horizon_days: float,
    active_days: float | None,
    *,
    events: Sequence[str] = ("purchase",),
    observed_until: int | None = None,
    labels: bool = True,
    truth: Truth = stayed_away,
    of: str = LINES,
    answers: str = PROBABILITIES,
    declared: Features = USUAL,
) -> Cohort:
    """All customers active before each cutoff, with point-in-time features and, unless `labels=False`, labels.

    Rows are ordered by (cutoff as given, internal user id). Where the dataset has a consent table, only customers whose
    consent is in force at the cutoff are asked about; who withdraws inside the label window has no label (whether he
    came back may not be known) and is left out of labelled cohorts, bought or not. Both are counted in `left_out`.

    Args:
        prepared: the dataset.
        cutoffs: one instant or several, µs UTC.
        horizon_days: length of the label window [t, t + horizon).
        active_days: a row needs one of `events` in [t - active, t); None: at any time before t.
        events: event types that show that the customer is there.
        observed_until: the log is complete before this instant (default: midnight before its last event).
        labels: False for a cutoff whose future is not known yet.
        truth: what the label window holds (`of`: see `window.py`; lines are of `events`), (n,) -> label, float64 (n,).
            Whose label is NaN is left out and counted.
        of: lines, orders, money, or another of `window.py`.
        answers: what labels are: of probabilities 0 or 1, counts or amounts.
        declared: which features.

    Raises:
        UserError: no time stamps, or a label window beyond the log.
        NobodyAskedError: at none of the cutoffs anybody is active, agrees and has a window that says what is asked (one
            of several at which nobody does is counted in `left_out`).
    """
    instants = [int(t) for t in np.atleast_1d(np.asarray(cutoffs, np.int64))]
    time = _times(prepared, horizon_days, active_days)
    if observed_until is None:
        observed_until = floor_day(prepared.span[1], prepared.zone) if len(time) else 0
    horizon = round(horizon_days * MICROSECONDS_PER_DAY)
    bought = _Bought.of(prepared, events)
    window = holding(prepared.events, prepared.offsets, of) if labels and of != LINES else None

    users: list[np.ndarray] = []
    at, label = [], []
    left_out: Counter[str] = Counter()
    nobody = "there is no cutoff; name one"
    for t in instants:
        if labels and t + horizon > observed_until:
            raise UserError(
                f"the label window of {horizon_days:g} days from {iso(t)} ends after the log is complete "
                f"({iso(observed_until)}); choose an earlier cutoff or a shorter horizon_days"
            )
        chosen, why = _asked(prepared, bought, t, active_days, t + horizon if labels else t, left_out)
        if not len(chosen):
            nobody = why
            continue
        if labels:
            held = _held(prepared, bought, window, chosen, t, horizon)
            chosen, told = _said(truth(held), chosen, left_out)
            label.append(told)
        users.append((chosen + 1).astype(np.int32))
        at.append(np.full(len(chosen), t, np.int64))

    if not users:
        raise NobodyAskedError(nobody, left_out)
    customer, cutoff = np.concatenate(users), np.concatenate(at)
    if not len(customer):
        raise NobodyAskedError(
            f"no customer's window of {horizon_days:g} days from {iso(instants[-1])} says what is asked; choose "
            f"another cutoff or a longer horizon_days, or another task: does the log hold what this one is about?",
            left_out,
        )
    declared = without_lacking(declared, prepared)
    features = features_of(prepared, customer, cutoff, declared)
    start = prepared.offsets[customer - 1]
    return Cohort(
        customer=customer,
        cutoff=cutoff,
        features=features.values,
        feature_names=features.names,
        declared=declared,
        events=prepared.events,
        offsets=prepared.offsets,
        start=start,
        end=lower_bound(time, start, prepared.offsets[customer], cutoff),
        observed_until=np.full(len(customer), observed_until, np.int64),
        label=np.concatenate(label) if labels else None,
        holds=of,
        answers=answers,
        of_nothing=float(truth(np.zeros(1, np.int64))[0]),
        horizon_days=float(horizon_days),
        active_events=tuple(events),
        active_days=None if active_days is None else float(active_days),
        left_out={reason: n for reason, n in left_out.items() if n},
    )


def _times(prepared: Prepared, horizon_days: float, active_days: float | None) -> np.ndarray:
    """The time stamps of all events: int64, µs; a `UserError` where there are none, or a span is not above 0."""
    if prepared.events.timestamp is None:
        raise UserError(f"dataset '{prepared.name}' has no time stamps: customer models need them; choose another")
    if horizon_days <= 0 or (active_days is not None and active_days <= 0):
        raise UserError(f"horizon_days and active_days must be above 0 (got {horizon_days}, {active_days})")
    return np.asarray(prepared.events.timestamp)


@dataclass(frozen=True)
class _Bought:
    """The target events alone: those of the customer at position p are `instant[first[p]:after[p]]`."""

    events: tuple[str, ...]
    instant: np.ndarray  # int64, µs
    first: np.ndarray  # int64 (n_users,)
    after: np.ndarray  # int64 (n_users,)

    @classmethod
    def of(cls, prepared: Prepared, events: Sequence[str]) -> _Bought:
        position = running_total(prepared.events, prepared.offsets, LINES, tuple(events))
        first, after = position[prepared.offsets[:-1]], position[prepared.offsets[1:]]
        return cls(tuple(events), np.asarray(prepared.events.timestamp)[np.diff(position) > 0], first, after)

    def before(self, instant: int) -> np.ndarray:
        """Where the events of each customer from an instant on begin: int64 (n_users,)."""
        return lower_bound(self.instant, self.first, self.after, instant)


def _asked(
    prepared: Prepared, bought: _Bought, t: int, active_days: float | None, until: int, left_out: Counter[str]
) -> tuple[np.ndarray, str]:
    """Positions of who is active at a cutoff and agrees until `until`; where it is nobody, why. Both are counted."""
    since = bought.first if active_days is None else bought.before(t - round(active_days * MICROSECONDS_PER_DAY))
    chosen = np.flatnonzero(bought.before(t) > since)
    if not len(chosen):
        left_out["cutoffs at which nobody was active"] += 1
        span = "time" if active_days is None else f"{active_days:g} days"
        why = f"has a {' / '.join(bought.events)} in the {span} before {iso(t)}"
        return chosen, f"no customer {why}; choose a later cutoff or a longer active_days"
    if prepared.consent is not None:
        chosen = _agreeing(prepared.consent, chosen + 1, t, until, left_out) - 1
    if not len(chosen):
        left_out["cutoffs at which no active customer agreed"] += 1
        return chosen, f"no active customer agrees at {iso(t)} and stays; choose a later cutoff"
    return chosen, ""


def _said(label: np.ndarray, chosen: np.ndarray, left_out: Counter[str]) -> tuple[np.ndarray, np.ndarray]:
    """Positions and labels of those whose window says what is asked; the others are counted."""
    said = ~np.isnan(label)
    if not said.all():
        left_out[SAYS_NOTHING] += int((~said).sum())
    return chosen[said], label[said]


def _held(
    prepared: Prepared, bought: _Bought, window: Held | None, chosen: np.ndarray, t: int, horizon: int
) -> np.ndarray:
    """What the label window of a cutoff holds of some customers: target events, or what `window` says."""
    if window is None:
        held: np.ndarray = (bought.before(t + horizon) - bought.before(t))[chosen]
        return held
    time = prepared.events.timestamp
    assert time is not None
    first, last = prepared.offsets[chosen], prepared.offsets[chosen + 1]
    since, until = (lower_bound(time, first, last, instant) for instant in (t, t + horizon))
    return window(since, until, t, horizon)


def window_labels(prepared: Prepared, cohort: Cohort, truth: Truth, of: str) -> np.ndarray:
    """What is true of another task in the windows of a cohort that was built from `prepared`: float64 (n,)."""
    time = prepared.events.timestamp
    assert time is not None
    window = holding(prepared.events, prepared.offsets, of, cohort.active_events)
    horizon = round(cohort.horizon_days * MICROSECONDS_PER_DAY)
    last = lower_bound(time, cohort.end, prepared.offsets[cohort.customer], cohort.cutoff + horizon)
    label = np.empty(len(cohort))
    for t in np.unique(cohort.cutoff).tolist():
        rows = cohort.cutoff == t
        label[rows] = truth(window(cohort.end[rows], last[rows], t, horizon))
    return label


def features_of(
    prepared: Prepared, customer: np.ndarray, cutoff: np.ndarray, declared: Features = USUAL
) -> FeatureTable:
    """What was known of customers (n,) strictly before instants (n,), as it is declared."""
    shop = beside(declared).shop or shop_of(prepared, declared, cutoff)
    return customer_features(prepared.events, prepared.offsets, customer, cutoff, declared, shop)


def _agreeing(consent: Consent, user: np.ndarray, cutoff: int, until: int, left_out: Counter[str]) -> np.ndarray:
    """Those of the users who agree at the cutoff and do not withdraw before `until`; the others are counted."""
    agrees = consent.holds(user, cutoff)
    stays = consent.next_end(user[agrees], cutoff) >= until
    left_out["no consent at the cutoff"] += int((~agrees).sum())
    left_out["consent withdrawn inside the label window"] += int((~stays).sum())
    return user[agrees][stays]


def join_cohorts(parts: Sequence[tuple[Prepared, Cohort]]) -> Cohort:
    """Cohorts of several cutoffs, each from the dataset as it was known at its own, as one; oldest first.

    Items are numbered as in the newest dataset; what it does not know (it can only be a customer's who no longer
    agrees) becomes 0.
    """
    if len(parts) == 1:
        return parts[0][1]
    names = parts[-1][0].items["item_id"].combine_chunks()
    columns: dict[str, list[np.ndarray]] = {}
    start, end, before, newest = [], [], 0, 0
    for prepared, cohort in parts:
        ids = pc.fill_null(pc.index_in(prepared.items["item_id"].combine_chunks(), value_set=names), -1)
        number = np.concatenate([[0], ids.to_numpy(zero_copy_only=False) + 1]).astype(np.int32)
        for column, values in vars(cohort.events).items():
            if values is not None:
                columns.setdefault(column, []).append(number[values] if column == "item" else values)
        newest = before + cohort.newest
        start.append(cohort.start + before)
        end.append(cohort.end + before)
        before += len(cohort.events.item)
    cohorts = [cohort for _, cohort in parts]

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(c, name) for c in cohorts])

    return replace(
        cohorts[0],
        customer=joined("customer"),
        cutoff=joined("cutoff"),
        features=joined("features"),
        observed_until=joined("observed_until"),
        events=Events(**{name: np.concatenate(values) for name, values in columns.items()}),
        start=np.concatenate(start),
        end=np.concatenate(end),
        newest=newest,
        offsets=cohorts[-1].offsets,
        label=None if cohorts[0].label is None else joined("label"),
        further={
            name: Further(np.concatenate([c.further[name].label for c in cohorts]), one.answers)
            for name, one in cohorts[0].further.items()
        },
        subject=None if cohorts[0].subject is None else joined("subject"),
        session=None if cohorts[0].session is None else joined("session"),
        left_out=dict(sum((Counter(c.left_out) for c in cohorts), Counter())),
    )
