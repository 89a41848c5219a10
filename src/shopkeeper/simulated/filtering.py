"""Exact inference in a simulated world: what the log of a customer says about his hidden type and state.

With x_1..x_t the visible days, forward filtering computes P(type k, state s on day t | x_1..x_t):

    alpha_first = prior(k) initial(k, s) e_first(k, s)
    alpha_t(k, s) = e_t(k, s) sum_s' alpha_{t-1}(k, s') transition(k, s', s),  normalised

where the evidence e_t of a day without a visible visit is 1 - P(visit), of a day with one P(its kind) times the
probabilities of the items seen. Whatever does not depend on (k, s) cancels and is left out: times of day, number of
views, carts given views, add-ons, pieces, returns. Nothing is approximated (up to float64).

The first visible visit is the customer's first day (the first day of a simulated customer always has a visit).

Shapes: B histories, N visible rows, K types, S states, V = n_items + 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shopkeeper.data.requests import gather_last
from shopkeeper.simulated.choice import Windows, likelihood
from shopkeeper.simulated.customers import CART, ORDER, VIEW
from shopkeeper.simulated.world import CART_WINDOW, DUE_WINDOW, VIEW_WINDOW, World

# Kinds of a visible day.
BROWSED, ORDERED_AFTER_VIEWS, ORDERED_ON_WEB, ORDERED_IN_STORE, ORDERED = range(5)
WEB, STORE, UNKNOWN = 0, 1, -1  # channels of a row


@dataclass(frozen=True)
class Histories:
    """Visible rows of B customers, one after another, in time order; only views, carts and purchases."""

    offsets: np.ndarray  # int64 (B + 1,)
    item: np.ndarray  # int (N,), world items
    event_type: np.ndarray  # int (N,)
    timestamp: np.ndarray  # int64 (N,) µs UTC
    channel: np.ndarray  # int (N,), WEB, STORE or UNKNOWN

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True)
class Replay:
    """Histories with the windows that every choice was made from."""

    histories: Histories
    day: np.ndarray  # int64 (N,)
    owner: np.ndarray  # int64 (N,)
    order_start: np.ndarray  # bool (N,), first line of an order
    replenished: np.ndarray  # bool (N,), the row's item is one that is bought again

    def windows(self, row: np.ndarray, owner: np.ndarray, day: np.ndarray) -> Windows:
        """What was visible just before rows `row` (N = after the last) of customers `owner`, on day `day`."""
        h, start = self.histories, self.histories.offsets[owner]
        is_view, is_order = h.event_type == VIEW, h.event_type == ORDER
        last_order = _last(is_order)[row]  # last purchase row before; -1 = none
        since = np.maximum(start, last_order + 1)
        begun = _last(self.order_start)[row]
        has_order = begun >= start
        viewed = _last(is_view)[row]
        in_session = viewed >= start
        in_session &= self.day[np.maximum(viewed, 0)] == day if len(self.day) else False
        rows = np.arange(1, len(h.item) + 1)
        due_row = gather_last(rows, start, row, DUE_WINDOW, is_order & self.replenished) - 1
        return Windows(
            day=day,
            session=np.where(in_session, _take(h.item, viewed), 0),
            views=gather_last(h.item, since, row, VIEW_WINDOW, is_view),
            carts=gather_last(h.item, since, row, CART_WINDOW, h.event_type == CART),
            first_line=np.where(has_order, _take(h.item, begun), 0),
            order_day=np.where(has_order, _take(self.day, begun), 0),
            due_item=np.where(due_row >= 0, _take(h.item, due_row), 0),
            due_day=np.where(due_row >= 0, _take(self.day, due_row), 0),
        )


def replay(world: World, h: Histories) -> Replay:
    """Find days and orders. Purchases of one instant are one order: a customer has one visit a day."""
    n = len(h.item)
    owner = np.repeat(np.arange(len(h)), np.diff(h.offsets))
    is_order = h.event_type == ORDER
    same = np.zeros(n, bool)
    same[1:] = is_order[:-1] & (h.timestamp[1:] == h.timestamp[:-1]) & (owner[1:] == owner[:-1])
    return Replay(h, world.day_of(h.timestamp), owner, is_order & ~same, world.cycle[h.item] > 0)


def choice_evidence(world: World, r: Replay) -> np.ndarray:
    """Log-likelihood of every row under each type: float (N, K); 0 for rows that are not a choice of an item."""
    out = np.zeros((len(r.day), world.n_types))
    for rows, weights in (
        (np.flatnonzero(r.histories.event_type == VIEW), world.view_weights),
        (np.flatnonzero(r.order_start), world.order_weights),
    ):
        seen = r.windows(rows, r.owner[rows], r.day[rows])
        with np.errstate(divide="ignore"):
            out[rows] = np.log(likelihood(world, seen, r.histories.item[rows], weights))
    return out


@dataclass(frozen=True)
class Visits:
    """Visible days: (customer, day) pairs in order, with their kind and the log-likelihood of their items."""

    owner: np.ndarray  # int64 (n,)
    day: np.ndarray  # int64 (n,)
    kind: np.ndarray  # int (n,)
    items: np.ndarray  # float (n, K)


def visits(world: World, r: Replay) -> Visits:
    """Rows grouped by customer and day."""
    h, n = r.histories, len(r.day)
    new = np.ones(n, bool)
    new[1:] = (r.owner[1:] != r.owner[:-1]) | (r.day[1:] != r.day[:-1])
    starts = np.flatnonzero(new)
    if n == 0:
        return Visits(r.owner, r.day, np.zeros(0, int), np.zeros((0, world.n_types)))
    viewed = np.logical_or.reduceat(h.event_type == VIEW, starts)
    ordered = np.logical_or.reduceat(h.event_type == ORDER, starts)
    kind = order_kind(viewed, h.channel[starts])
    kind = np.where(ordered, kind, BROWSED)
    return Visits(r.owner[starts], r.day[starts], kind, np.add.reduceat(choice_evidence(world, r), starts, axis=0))


def order_kind(viewed: np.ndarray, channel: np.ndarray) -> np.ndarray:
    """Kind of a day that has an order, from whether views came before it and by which channel it came."""
    unseen = np.select([channel == WEB, channel == STORE], [ORDERED_ON_WEB, ORDERED_IN_STORE], ORDERED)
    return np.where(viewed, ORDERED_AFTER_VIEWS, unseen)


def kind_evidence(world: World) -> tuple[np.ndarray, np.ndarray]:
    """Float (5, K, S): evidence of each kind of a day, on the first day and on a later one (without the calendar)."""
    no_view = world.steps_order[0] / world.steps_order.sum()
    tables = []
    for web, store in (world.first_evidence(), (world.web, world.store)):
        buys = web * world.buy
        seen, unseen = buys * (1.0 - no_view), buys * no_view
        tables.append(np.stack([web - buys, seen, unseen, store, unseen + store]))
    return tables[0], tables[1]


def filter_days(world: World, v: Visits, until: np.ndarray) -> np.ndarray:
    """Posterior of (type, state) of each customer at the end of day `until` (B,), from visits up to that day.

    Float (B, K, S), each summing to 1; NaN where there is no visit up to then. A history that this world cannot
    bring forth (impossible evidence) starts again from the prior at that point.
    """
    B, K, S = len(until), world.n_types, world.n_states
    first_table, later_table = kind_evidence(world)
    alpha = np.full((B, K * S), np.nan)
    keep = v.day <= until[v.owner]
    owner, day, kind, items = v.owner[keep], v.day[keep], v.kind[keep], v.items[keep]
    if len(owner) == 0:
        return alpha.reshape(B, K, S)
    is_first = np.ones(len(owner), bool)
    is_first[1:] = owner[1:] != owner[:-1]
    first = np.full(B, np.iinfo(np.int64).max)
    first[owner[is_first]] = day[is_first]
    items = np.exp(items - np.max(items, axis=1, keepdims=True, initial=-1e300))
    prior = (world.prior[:, None] * world.initial).reshape(-1)
    step = np.zeros((K * S, K * S))
    for k in range(K):
        step[k * S : (k + 1) * S, k * S : (k + 1) * S] = world.transition[k]
    visible = (world.web + world.store).reshape(-1)
    by_day = np.argsort(day, kind="stable")
    edges = np.searchsorted(day[by_day], np.arange(day.min(), int(until.max()) + 2))
    for t in range(int(day.min()), int(until[first <= until].max()) + 1):
        on = np.flatnonzero((first < t) & (t <= until))
        here = by_day[edges[t - day.min()] : edges[t - day.min() + 1]]
        quiet = np.ones(B, bool)
        quiet[owner[here]] = False
        alpha[on] = alpha[on] @ step
        silent = on[quiet[on]]
        alpha[silent] *= 1.0 - visible * world.calendar_factor(t)
        table = np.where(is_first[here, None, None], first_table[kind[here]], later_table[kind[here]])
        evidence = (table * items[here, :, None]).reshape(len(here), K * S)
        before = np.where(is_first[here, None], prior, alpha[owner[here]])
        after = before * evidence
        impossible = after.sum(axis=1) <= 0
        after[impossible] = prior
        alpha[owner[here]] = after
        on = np.concatenate([silent, owner[here]])
        alpha[on] /= alpha[on].sum(axis=1, keepdims=True)
    return alpha.reshape(B, K, S)


def survival(world: World, day: int, horizon: int) -> np.ndarray:
    """Float (K, S): probability of no order on days day .. day + horizon - 1, from the state on `day`."""
    beta = np.ones((world.n_types, world.n_states))
    for t in range(day + horizon - 1, day - 1, -1):
        if t < day + horizon - 1:
            beta = np.einsum("kst,kt->ks", world.transition, beta)
        beta = beta * (1.0 - world.order_probability(t))
    return beta


def _last(flag: np.ndarray) -> np.ndarray:
    """For each row r in 0..N: the last row before r where `flag` is set, -1 where there is none."""
    rows = np.where(flag, np.arange(len(flag)), -1)
    return np.concatenate([[-1], np.maximum.accumulate(rows)]) if len(flag) else np.array([-1])


def _take(column: np.ndarray, row: np.ndarray) -> np.ndarray:
    return column[np.maximum(row, 0)] if len(column) else np.zeros(np.shape(row), np.int64)
