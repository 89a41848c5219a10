"""What is known of a (request, item) pair before the request's instant: input of a ranker.

Three kinds: the customer's own history with the item, the customer, and the item as the training rows show it (so item
statistics are frozen at the training end). Ages are in days before the request's instant; where there is none, before
the history's last event. What cannot be known is NaN.

Shapes: B requests, P pairs, V = n_items + 1 columns, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shopkeeper.data.nightly import Nightly
from shopkeeper.data.requests import Requests
from shopkeeper.features.baskets import Baskets
from shopkeeper.features.candidates import Scored, candidates
from shopkeeper.schema import EVENT_CODE, INTEREST, MICROSECONDS_PER_DAY

if TYPE_CHECKING:
    from shopkeeper.data.split import Split

SPANS = (7, 30, 90)  # days of recent demand
OWN = (
    "own_count", "own_share", "own_days", "own_baskets_ago", "own_gap", "own_due",
    "other_count", "other_days", "any_place", "usual_due", "since_count", "since_place", "cart_place", "visit_place",
)  # fmt: skip
CUSTOMER = ("baskets", "lines", "basket_size", "order_days", "tenure_days", "events", "repeat_share", "event_days")
DEMAND = (*(f"demand_{d}" for d in SPANS), "demand", "trend", "age_days")  # of `ITEM`, what a nightly job counts anew
ITEM = (*(f"demand_{d}" for d in SPANS), "demand", "buyers", "repeat_rate", "usual_gap", "trend", "price", "age_days")


@dataclass(frozen=True)
class ItemFacts:
    """Statistics of the items in the training rows: float32 (V, len(ITEM)); row 0 is padding."""

    table_VF: np.ndarray

    @classmethod
    def of(cls, split: Split, types: list[int]) -> ItemFacts:
        """Counts of target events (types: codes) over all, and over the last days before the last training row."""
        events, n = split.prepared.events, split.prepared.n_items + 1
        _, rows = split.training_rows(types)
        item = events.item[rows]
        columns = dict.fromkeys(ITEM, np.full(n, np.nan))
        columns["demand"] = np.bincount(item, minlength=n).astype(np.float64)
        baskets = Baskets.of(Requests(events, split.prepared.offsets[:-1], np.asarray(split.train_end)), types, n)
        key = baskets.owner.astype(np.int64) * n + baskets.item
        pair, times = np.unique(key, return_counts=True)
        buyers = np.bincount(pair % n, minlength=n).astype(np.float64)
        again = np.bincount(pair[times > 1] % n, minlength=n)
        with np.errstate(invalid="ignore", divide="ignore"):
            columns["buyers"], columns["repeat_rate"] = buyers, again / buyers
            if events.timestamp is not None and len(rows):
                at = events.timestamp[rows]
                columns |= dict(zip(DEMAND, demand_table(at, item, int(at.max()), n).T, strict=True))
                newest, oldest = np.full(len(pair), np.inf), np.zeros(len(pair))
                at_pair = np.searchsorted(pair, key)
                np.minimum.at(newest, at_pair, baskets.age_days)
                np.maximum.at(oldest, at_pair, baskets.age_days)
                span = np.bincount(pair % n, np.where(times > 1, oldest - newest, 0), n)
                gaps = np.bincount(pair % n, times - 1, n)
                overall = span.sum() / max(gaps.sum(), 1)
                columns["usual_gap"] = (span + 3 * overall) / (gaps + 3)  # a rare item's gap leans on all items'
            if events.price is not None:
                price = events.price[rows]
                told = np.isfinite(price)
                total = np.bincount(item[told], price[told], n)
                columns["price"] = total / np.bincount(item[told], minlength=n)
        return cls(np.stack([columns[name] for name in ITEM], axis=1).astype(np.float32))


def pairs(
    requests: Requests,
    scored: Sequence[Scored],
    facts: ItemFacts,
    types: list[int],
    catalogue: np.ndarray,
    per_model: int,
    nightly: Nightly | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Candidates of each request, by request and item, and their features: (P,), (P,), float32 (P, F).

    Which they are says `features.candidates`; each model's score and place are features, after those of
    `pair_features`.
    """
    owner, item, told_PF = candidates(requests, scored, catalogue, per_model, len(facts.table_VF))
    features_PF = pair_features(requests, owner, item, facts, types, nightly)
    return owner, item, np.concatenate([features_PF, told_PF], axis=1)


def demand_table(at: np.ndarray, item: np.ndarray, now: int, n_columns: int) -> np.ndarray:
    """What the target events so far say of demand at an instant (µs): float64 (V, len(DEMAND))."""
    age = (now - at) / MICROSECONDS_PER_DAY
    recent = [np.bincount(item[age < days], minlength=n_columns).astype(np.float64) for days in SPANS]
    first = np.full(n_columns, np.nan)
    np.fmax.at(first, item, age)
    with np.errstate(invalid="ignore", divide="ignore"):
        trend = recent[SPANS.index(30)] / (recent[SPANS.index(90)] / 3)
    return np.stack([*recent, np.bincount(item, minlength=n_columns), trend, first], axis=1)


def pair_features(
    requests: Requests,
    owner: np.ndarray,
    item: np.ndarray,
    facts: ItemFacts,
    types: list[int],
    nightly: Nightly | None = None,
) -> np.ndarray:
    """Features float32 (P, F) of the pairs (`owner[p]`, `item[p]`), in the order OWN, CUSTOMER, ITEM.

    With `nightly` demand is that of the night before each request, instead of `facts`'.
    """
    n_columns = len(facts.table_VF)
    baskets = Baskets.of(requests, types, n_columns)
    now, customer_BF = _customer(requests, baskets)
    gap_V = facts.table_VF[:, ITEM.index("usual_gap")]
    own = _own(requests, baskets, now, owner, item, types, n_columns, gap_V)
    item_PF = facts.table_VF[item]
    if nightly is not None and requests.instant is not None:
        place = [ITEM.index(name) for name in DEMAND]
        night_P = nightly.nights(requests.instant)[owner]
        for night in np.unique(night_P):
            pairs = np.flatnonzero(night_P == night)
            table = nightly.table(int(night), demand_table, n_columns)
            item_PF[pairs[:, None], place] = table[item[pairs]]
    return np.concatenate([own, customer_BF[owner], item_PF], axis=1, dtype=np.float32)


def _customer(requests: Requests, baskets: Baskets) -> tuple[np.ndarray, np.ndarray]:
    """The instants that ages are measured from, float64 µs (B,), and the customers' features (B, len(CUSTOMER))."""
    n, events = len(requests), requests.events
    lines = np.bincount(baskets.owner, minlength=n).astype(np.float64)
    distinct = np.unique(baskets.owner.astype(np.int64) * (1 << 32) + baskets.item)
    different = np.bincount((distinct >> 32).astype(np.int64), minlength=n)
    now, order_days, tenure, event_days = (np.full(n, np.nan) for _ in range(4))
    some = requests.lengths > 0
    if events.timestamp is not None:
        now[some] = events.timestamp[requests.end[some] - 1]
        if requests.instant is not None:
            now = requests.instant.astype(np.float64)
        tenure[some] = (now[some] - events.timestamp[requests.start[some]]) / MICROSECONDS_PER_DAY
        event_days[some] = (now[some] - events.timestamp[requests.end[some] - 1]) / MICROSECONDS_PER_DAY
        bought = baskets.n_baskets > 0
        if baskets.last is not None:
            order_days[bought] = (now[bought] - baskets.last[bought]) / MICROSECONDS_PER_DAY
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = [baskets.n_baskets, lines, lines / baskets.n_baskets, order_days, tenure, requests.lengths,
                   1 - different / lines, event_days]  # fmt: skip
    return now, np.stack([np.asarray(c, np.float32) for c in columns], axis=1)


def _own(
    requests: Requests,
    baskets: Baskets,
    now: np.ndarray,
    owner: np.ndarray,
    item: np.ndarray,
    types: list[int],
    n_columns: int,
    gap_V: np.ndarray,
) -> np.ndarray:
    """The customer's own history with the item: float64 (P, len(OWN))."""
    wanted = owner.astype(np.int64) * n_columns + item
    key = baskets.owner.astype(np.int64) * n_columns + baskets.item
    pair, inverse, times = np.unique(key, return_inverse=True, return_counts=True)
    newest, oldest, place = np.full(len(pair), np.inf), np.zeros(len(pair)), np.full(len(pair), np.inf)
    np.minimum.at(newest, inverse, baskets.age_days)
    np.maximum.at(oldest, inverse, baskets.age_days)
    np.minimum.at(place, inverse, baskets.basket)
    at, found = _places(pair, wanted)
    count = np.where(found, times[at] if len(times) else 0, 0).astype(np.float64)
    blank = np.full(len(wanted), np.nan)

    def own(values: np.ndarray) -> np.ndarray:
        return np.where(found, values[at], np.nan) if len(values) else blank

    since_last = np.zeros(len(requests))  # days from the last basket to the instant
    if baskets.last is not None:
        since_last = (now - baskets.last) / MICROSECONDS_PER_DAY
    days = own(newest) + since_last[owner] if requests.events.timestamp is not None else blank
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = np.where(count > 1, own(oldest - newest) / (count - 1), np.nan)
        share = count / baskets.n_baskets[owner]
        own_due, usual_due = days / np.maximum(gap, 0.5), days / np.maximum(gap_V[item], 0.5)
    offsets, rows = requests.flat(list(INTEREST))
    who = np.repeat(np.arange(len(requests)), np.diff(offsets))
    known = requests.events.item[rows] < n_columns
    rows, who = rows[known], who[known]
    event = requests.events.event_type[rows]
    target = np.isin(event, np.asarray(types, np.int8))
    since = _since_order(who, target, len(requests))
    looks = _Looks(who, requests.events.item[rows], n_columns, wanted)
    other = looks.of(~target)
    other_days = blank
    if requests.events.timestamp is not None and len(rows):
        other_days = np.where(other.found, (now[owner] - requests.events.timestamp[rows[other.row]]), np.nan)
        other_days = other_days / MICROSECONDS_PER_DAY
    later = looks.of(since)
    columns = [
        count, share, days, own(place), gap, own_due, other.count, other_days, looks.of(np.ones(len(rows), bool)).place,
        usual_due, later.count, later.place, looks.of(since & (event == EVENT_CODE["add_to_cart"])).place,
        looks.of(_last_visit(requests, rows, who)).place,
    ]  # fmt: skip
    return np.stack(columns, axis=1)


@dataclass(frozen=True)
class _Look:
    """What some kind of a history's rows says of each wanted pair."""

    found: np.ndarray  # bool (P,)
    count: np.ndarray  # float64 (P,): rows on the item
    place: np.ndarray  # float64 (P,): rows of that kind after the newest of them; NaN where there is none
    row: np.ndarray  # int64 (P,): the newest of them, as a position among the rows; 0 where there is none


@dataclass(frozen=True)
class _Looks:
    """Rows of all histories, oldest first: whose they are, on which item; and the pairs that are asked about."""

    who: np.ndarray
    item: np.ndarray
    n_columns: int
    wanted: np.ndarray

    def of(self, kept: np.ndarray) -> _Look:
        """The rows where `kept` (bool) alone."""
        position = np.flatnonzero(kept)
        who = self.who[position]
        behind = np.searchsorted(who, who, side="right") - 1 - np.arange(len(who))
        key = who.astype(np.int64) * self.n_columns + self.item[position]
        pair, first, times = np.unique(key[::-1], return_index=True, return_counts=True)
        at, found = _places(pair, self.wanted)
        if not len(pair):
            nothing = np.zeros(len(self.wanted))
            return _Look(found, nothing, nothing + np.nan, nothing.astype(np.int64))
        newest = len(key) - 1 - first[at]
        return _Look(found, np.where(found, times[at], 0.0), np.where(found, behind[newest], np.nan), position[newest])


def _since_order(who: np.ndarray, target: np.ndarray, n: int) -> np.ndarray:
    """Which rows came after the last target event of their history, of n: bool."""
    place = np.arange(len(who))
    last = np.full(n, -1)
    last[who[target]] = place[target]  # rows are ascending: the last one stays
    return place > last[who]


def _last_visit(requests: Requests, rows: np.ndarray, who: np.ndarray) -> np.ndarray:
    """Which rows are of the session of their history's last event; none where the log has no sessions: bool."""
    session = requests.events.session
    if session is None or not len(rows):
        return np.zeros(len(rows), bool)
    last = session[np.maximum(requests.end - 1, 0)][who]  # of an empty history any: it has no rows
    return (session[rows] == last) & (last > 0)


def _places(sorted_keys: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each wanted key stands among the sorted ones (0 where it does not), and whether it does."""
    if not len(sorted_keys):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    at = np.minimum(np.searchsorted(sorted_keys, wanted), len(sorted_keys) - 1)
    return at, sorted_keys[at] == wanted
