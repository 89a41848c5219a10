"""A chunk of simulated customers, lived day by day: hidden path first, then visits, views, carts, orders, returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shopkeeper.schema import EVENT_CODE, MICROSECONDS_PER_DAY
from shopkeeper.simulated.choice import Drawer, Windows
from shopkeeper.simulated.world import CART_WINDOW, DUE_WINDOW, VIEW_WINDOW, World

VIEW, CART, ORDER, RETURN = (EVENT_CODE[name] for name in ("view", "add_to_cart", "purchase", "return"))
_SECOND = 1_000_000


@dataclass
class SimulatedLog:
    """Events of one chunk in time order (M rows). `customer` counts from 0 within the chunk; 0 in ids = none."""

    customer: np.ndarray  # int32
    item: np.ndarray  # int32, world item
    event_type: np.ndarray  # int8
    timestamp: np.ndarray  # int64 µs UTC
    session: np.ndarray  # int64, from 1 within the chunk, 0 = none
    order: np.ndarray  # int64, from 1 within the chunk, 0 = none
    quantity: np.ndarray  # int32, 0 = none
    price: np.ndarray  # float64, per unit
    channel: np.ndarray  # int8, 0 = web, 1 = store


@dataclass
class Hidden:
    """What nobody sees: type (n,), first day (n,) and the state on every day (n, D), -1 before the first."""

    kind: np.ndarray
    first: np.ndarray
    state: np.ndarray


def hidden_paths(world: World, n: int, rng: np.random.Generator) -> Hidden:
    """Types, first days and state paths of n customers; needs no other random numbers than these."""
    kind = np.searchsorted(np.cumsum(world.prior)[:-1], rng.random(n), side="right")
    early, place = rng.random(n) < world.start_early, rng.random(n)
    first = (np.where(early, place * min(60, world.days), place * world.days)).astype(np.int64)
    state = np.full((n, world.days), -1, np.int8)
    step = np.cumsum(world.transition, axis=2)[:, :, :-1]
    begin = np.cumsum(world.initial, axis=1)[:, :-1]
    now = np.zeros(n, np.int64)
    for day in range(world.days):
        u = rng.random(n)[:, None]
        now = np.where(first == day, np.sum(u >= begin[kind], axis=1), np.sum(u >= step[kind, now], axis=1))
        state[:, day] = np.where(first <= day, now, -1)
    return Hidden(kind, first, state)


def live(world: World, hidden: Hidden, rng: np.random.Generator) -> SimulatedLog:
    """What the shop's log shows of these customers."""
    life = _Life(world, hidden, rng)
    for day in range(world.days):
        life.day(day)
    return life.log()


class _Life:
    def __init__(self, world: World, hidden: Hidden, rng: np.random.Generator) -> None:
        n = len(hidden.kind)
        self.world, self.hidden, self.rng, self.drawer = world, hidden, rng, Drawer(world)
        self.w = Windows(
            day=np.zeros(n, np.int64),
            session=np.zeros(n, np.int64),
            views=np.zeros((n, VIEW_WINDOW), np.int64),
            carts=np.zeros((n, CART_WINDOW), np.int64),
            first_line=np.zeros(n, np.int64),
            order_day=np.zeros(n, np.int64),
            due_item=np.zeros((n, DUE_WINDOW), np.int64),
            due_day=np.zeros((n, DUE_WINDOW), np.int64),
        )
        self.rows: dict[str, list[np.ndarray]] = {name: [] for name in SimulatedLog.__annotations__}
        self.sessions = self.orders = 0
        self.steps = [np.cumsum(world.steps_browse)[:-1], np.cumsum(world.steps_order)[:-1]]
        self.on_web, _ = world.first_evidence()

    def day(self, day: int) -> None:
        """Visits of one day: who comes, by which channel, and whether the visit ends in an order."""
        world, kind, state = self.world, self.hidden.kind, self.hidden.state[:, day]
        u, v = self.rng.random(len(kind)), self.rng.random(len(kind))
        factor = world.calendar[day]
        on_web, in_store = world.web[kind, state] * factor, world.store[kind, state] * factor
        begins = self.hidden.first == day
        web = np.where(begins, u < self.on_web[kind, state], u < on_web) & (state >= 0)
        store = np.where(begins, ~web, (u >= on_web) & (u < on_web + in_store)) & (state >= 0)
        who = np.flatnonzero(web | store)
        if len(who) == 0:
            return
        buys = store[who] | (v[who] < world.buy[kind[who], state[who]])
        self.visit(day, who, web[who], buys)

    def visit(self, day: int, who: np.ndarray, web: np.ndarray, buys: np.ndarray) -> None:
        """Views and carts one after another, then the order."""
        rng, n = self.rng, len(who)
        u = rng.random(n)
        views = np.where(
            buys, np.searchsorted(self.steps[1], u, side="right"), np.searchsorted(self.steps[0], u, side="right")
        )
        views = np.where(web, views, 0)
        session = np.where(web, np.cumsum(web) + self.sessions, 0)
        self.sessions += int(web.sum())
        # Visits begin between 6:00 and 21:00 and are over before midnight: a day holds a visit whole.
        second = ((6 + 7.5 * (rng.random(n) + rng.random(n))) * 3600).astype(np.int64)
        w = self.w[who]
        w.day[:] = day
        w.session[:] = 0
        channel = np.where(web, 0, 1)
        for step in range(int(views.max(initial=0))):
            on = np.flatnonzero(views > step)
            part = w[on]
            item = self.drawer.draw(part, self.hidden.kind[who[on]], self.world.view_weights, rng)
            self.emit(day, who[on], item, VIEW, second[on], session[on], 0, 0, 0)
            w.session[on] = item
            w.views[on] = _push(part.views, item)
            second[on] += 5 + (25 * rng.exponential(size=len(on))).astype(np.int64).clip(0, 600)
            carted = rng.random(len(on)) < self.world.cart_probability
            cart = on[carted]
            self.emit(day, who[cart], item[carted], CART, second[cart], session[cart], 0, 1, 0)
            w.carts[cart] = _push(w.carts[cart], item[carted])
            second[on] += 5 + (25 * rng.exponential(size=len(on))).astype(np.int64).clip(0, 600)
        bought = np.flatnonzero(buys)
        if len(bought):
            self.order(day, who[bought], bought, w, second[bought], session[bought], channel[bought])
        for name, column in vars(self.w).items():
            column[who] = getattr(w, name)

    def order(
        self,
        day: int,
        who: np.ndarray,
        rows: np.ndarray,
        w: Windows,
        second: np.ndarray,
        session: np.ndarray,
        channel: np.ndarray,
    ) -> None:
        """The first line is chosen, each add-on of it lies in the order on its own coin; then returns are decided."""
        world, rng, n = self.world, self.rng, len(who)
        first = self.drawer.draw(w[rows], self.hidden.kind[who], world.order_weights, rng)
        number = self.orders + 1 + np.arange(n)
        self.orders += n
        w.views[rows] = w.carts[rows] = 0
        w.first_line[rows], w.order_day[rows] = first, day
        slots = world.addon_item.shape[1]
        for slot in range(-1, slots):
            if slot < 0:
                item, on = first, np.arange(n)
            else:
                on = np.flatnonzero(rng.random(n) < world.addon_probability[first, slot])
                item = world.addon_item[first[on], slot]
            pieces = np.where(world.cycle[item] > 0, 1 + (rng.random(len(on)) < 0.25), 1)
            self.emit(day, who[on], item, ORDER, second[on], session[on], number[on], pieces, channel[on])
            again = np.flatnonzero(world.cycle[item] > 0)
            at = rows[on[again]]
            w.due_item[at] = _push(w.due_item[at], item[again])
            w.due_day[at] = _push(w.due_day[at], np.full(len(at), day))
            back = np.flatnonzero(rng.random(len(on)) < world.return_rate[item])
            later = day + 3 + (rng.random(len(back)) * 23).astype(np.int64)
            at_second = ((8 + 10 * rng.random(len(back))) * 3600).astype(np.int64)
            inside = later < world.days
            back, later, at_second = back[inside], later[inside], at_second[inside]
            self.emit(later, who[on[back]], item[back], RETURN, at_second, 0, number[on[back]], pieces[back],
                      channel[on[back]], bought=day)  # fmt: skip

    def emit(
        self,
        day: int | np.ndarray,
        customer: np.ndarray,
        item: np.ndarray,
        event: int,
        second: np.ndarray,
        session: np.ndarray | int,
        order: np.ndarray | int,
        quantity: np.ndarray | int,
        channel: np.ndarray | int,
        bought: int | None = None,
    ) -> None:
        """Note one event for each customer in `customer`."""
        n = len(customer)
        if n == 0:
            return
        day = np.broadcast_to(np.asarray(day, np.int64), n)
        paid = day if bought is None else np.full(n, bought)
        columns = {
            "customer": customer.astype(np.int32),
            "item": item.astype(np.int32),
            "event_type": np.full(n, event, np.int8),
            "timestamp": (self.world.first_day + day) * MICROSECONDS_PER_DAY + second * _SECOND,
            "session": np.array(np.broadcast_to(session, n), np.int64),
            "order": np.array(np.broadcast_to(order, n), np.int64),
            "quantity": np.array(np.broadcast_to(quantity, n), np.int32),
            "price": np.round(self.world.price[item] * self.world.sale[paid], 2),
            "channel": np.array(np.broadcast_to(channel, n), np.int8),
        }
        for name, values in columns.items():
            self.rows[name].append(values)

    def log(self) -> SimulatedLog:
        """Everything noted, in time order; rows of one instant keep the order in which they were noted."""
        joined = {name: np.concatenate(parts) for name, parts in self.rows.items()}
        order = np.argsort(joined["timestamp"], kind="stable")
        return SimulatedLog(**{name: column[order] for name, column in joined.items()})


def _push(window: np.ndarray, value: np.ndarray) -> np.ndarray:
    return np.concatenate([window[:, 1:], value[:, None]], axis=1)
