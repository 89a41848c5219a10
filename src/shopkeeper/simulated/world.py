"""The world behind a simulated shop: every table that generator and oracle share, built from plain parameters.

A customer has one hidden type k for life and a hidden state s that changes at most once a day along a Markov chain
(active, drifting, gone). A day brings at most one visit: on the web (views, carts, perhaps an order at its end) or
in the store (an order only). Whether there is a visit and an order depends on type, state and calendar alone; which
item is viewed or ordered depends on type, calendar and the visible history alone. That separation is what makes
filtering and churn exact.

Shapes: K types, S states, V = n_items + 1 (world items 1..n_items; 0 is "none"), D days, C components of a choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from shopkeeper.schema import MICROSECONDS_PER_DAY

# Where a choice may come from; what is left of the weight goes to the type's own taste.
COMPONENTS = ("session", "views", "carts", "follow", "due")
CHANNELS = ("web", "store")
VIEW_WINDOW, CART_WINDOW, DUE_WINDOW = 5, 3, 8  # how many of the last views, carts and replenishable purchases count


@dataclass(frozen=True)
class World:
    """All tables of one shop. Probabilities are per day and per customer unless said otherwise."""

    n_items: int
    first_day: int  # days since 1970-01-01
    days: int
    category: np.ndarray  # int (V,), index into category_names; 0 for item 0
    category_names: tuple[str, ...]
    price: np.ndarray  # float (V,)
    cycle: np.ndarray  # float (V,), days after which a replenishable item is due again; 0 = is not replenished
    return_rate: np.ndarray  # float (V,), per purchased line
    sale: np.ndarray  # float (D,), factor on every price
    prior: np.ndarray  # float (K,)
    initial: np.ndarray  # float (K, S), state on the first day
    transition: np.ndarray  # float (K, S, S), from one day to the next
    web: np.ndarray  # float (K, S), a web visit, before the calendar's factor
    store: np.ndarray  # float (K, S), an order in the store, before the calendar's factor
    buy: np.ndarray  # float (K, S), a web visit ends in an order
    calendar: np.ndarray  # float (D,), factor on `web` and `store`
    taste: np.ndarray  # float (K, 12, V), rows sum to 1
    alike: np.ndarray  # float (V, V), row j: what is viewed next to j in one session
    follow: np.ndarray  # float (V, V), row j: what is bought in the order after one that began with j
    addon_item: np.ndarray  # int (V, A), what may lie in the same order as j, each on its own coin
    addon_probability: np.ndarray  # float (V, A)
    view_weights: np.ndarray  # float (K, C)
    order_weights: np.ndarray  # float (K, C)
    follow_days: float  # an order has an echo for so long
    steps_order: np.ndarray  # float (L,), number of views in a web visit with an order
    steps_browse: np.ndarray  # float (L,), … without (never 0: nobody would have seen it)
    cart_probability: float  # a view is followed by an add_to_cart
    decay: float  # weight of the view (cart) before, relative to the last
    start_early: float  # share of customers who come in the first 60 days; the others come evenly

    @property
    def n_types(self) -> int:
        """K."""
        return len(self.prior)

    @property
    def n_states(self) -> int:
        """S."""
        return self.initial.shape[1]

    @property
    def together(self) -> np.ndarray:
        """Float (V, V): probability that i lies in an order that begins with j (1 on the diagonal)."""
        both = np.eye(self.n_items + 1)
        rows = np.repeat(np.arange(self.n_items + 1), self.addon_item.shape[1])
        np.add.at(both, (rows, self.addon_item.ravel()), self.addon_probability.ravel())
        both[:, 0] = 0.0
        return both

    def first_evidence(self) -> tuple[np.ndarray, np.ndarray]:
        """The first day has a visit for sure: float (K, S) that it is on the web, and that it is in the store."""
        total = self.web + self.store
        on_web = np.divide(self.web, total, out=np.zeros_like(total), where=total > 0)
        return on_web, np.where(total > 0, 1.0 - on_web, 0.0)

    def order_probability(self, day: int) -> np.ndarray:
        """Float (K, S): an order on day `day`; days beyond the log use the calendar's own rule."""
        return (self.web * self.buy + self.store) * self.calendar_factor(day)

    def calendar_factor(self, day: int) -> float:
        """Factor on visits; after the last day the same weekday of the year before counts."""
        while day >= self.days:
            day -= 364 if self.days > 364 else 7
        return float(self.calendar[max(day, 0)])

    def month_of(self, day: np.ndarray) -> np.ndarray:
        """Calendar month 0..11 of day indices, int64."""
        dates = (np.asarray(day, np.int64) + self.first_day).astype("datetime64[D]")
        return dates.astype("datetime64[M]").astype(np.int64) % 12

    def day_of(self, timestamp: np.ndarray) -> np.ndarray:
        """Day index of µs UTC, int64; may be negative or beyond the log."""
        return np.asarray(timestamp) // MICROSECONDS_PER_DAY - self.first_day

    @property
    def day_zero(self) -> datetime:
        """Midnight (UTC) of the first day."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=self.first_day)


def _tastes(
    p: Mapping[str, Any], rng: np.random.Generator, category: np.ndarray, popularity: np.ndarray, tastes: list[int]
) -> np.ndarray:
    """What each type (`tastes`: which of the tastes it has) would take in each month: (K, 12, V), rows sum to 1."""
    V, n_categories = len(category), len(p["categories"])
    own_item = np.exp(p["item_taste"] * (2 * rng.random((len(p["tastes"]), V)) - 1))
    season = 1.0 + p["season_strength"] * np.cos(
        2 * np.pi * (np.arange(12)[:, None] - np.array(p["category_peak_month"])[None, :]) / 12
    )  # (12, categories)
    taste = np.zeros((len(tastes), 12, V))
    for k, t in enumerate(tastes):
        love = np.full(n_categories, p["tastes"][t]["elsewhere"])
        for name, weight in p["tastes"][t]["loves"].items():
            love[p["categories"].index(name)] = weight
        taste[k] = popularity * own_item[t] * love[category] * season[:, category]
    taste[:, :, 0] = 0.0
    taste /= taste.sum(axis=-1, keepdims=True)
    return taste


def _followed(
    p: Mapping[str, Any], rng: np.random.Generator, category: np.ndarray, popularity: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What follows each item, (V, V), and what is added to it, (V, add-ons)."""
    V = len(category)
    follow = np.zeros((V, V))
    partner = np.array(p["category_partner"])[category]
    slots = len(p["follow_shares"])
    addon_item = np.zeros((V, len(p["addon_shares"])), int)
    for j in range(1, V):
        if p["follow_within"] == "partner":  # goes well with: from the partner category
            pool = np.flatnonzero((category == partner[j]) & (np.arange(V) > 0) & (np.arange(V) != j))
        else:
            pool = np.flatnonzero((np.arange(V) > 0) & (np.arange(V) != j))
        chosen = pool[np.argsort(rng.random(len(pool)) / popularity[pool] ** p["follow_popular"], kind="stable")]
        follow[j, chosen[:slots]] = p["follow_shares"]
        addon_item[j] = chosen[: addon_item.shape[1]]
    follow /= np.maximum(follow.sum(axis=1, keepdims=True), 1e-300)
    return follow, addon_item


def _alike(
    p: Mapping[str, Any], category: np.ndarray, rank_in_category: np.ndarray, popularity: np.ndarray
) -> np.ndarray:
    """Which item is looked at after which: near ones of its category, (V, V), rows sum to 1 or 0."""
    V = len(category)
    alike = np.where(category[:, None] == category[None, :], popularity[None, :], 0.0)
    near = np.abs(rank_in_category[:, None] - rank_in_category[None, :]) <= p["alike_within"]
    alike = alike * near * (1.0 - np.eye(V))
    alike[0] = 0.0
    alike /= np.maximum(alike.sum(axis=1, keepdims=True), 1e-300)
    return alike


def build(p: Mapping[str, Any]) -> World:
    """The tables that parameters (see `presets`) stand for. Deterministic: only `random()` of PCG64 is drawn from."""
    rng = np.random.Generator(np.random.PCG64(p["world_seed"]))
    V, n_categories = p["n_items"] + 1, len(p["categories"])
    category = np.concatenate([[0], np.arange(p["n_items"]) % n_categories])
    rank_in_category = np.concatenate([[0], np.arange(p["n_items"]) // n_categories])
    popularity = np.where(np.arange(V) > 0, 1.0 / (1.0 + rank_in_category) ** p["zipf"], 0.0)
    jitter = np.exp(p["price_spread"] * (2 * rng.random(V) - 1))
    price = np.round(np.array(p["category_price"])[category] * jitter, 2)
    low, high = p["cycle_days"]
    replenished = np.array(p["category_replenished"])[category] > rng.random(V)
    cycle = np.where(replenished, np.round(low + (high - low) * rng.random(V)), 0.0)
    cycle[0] = price[0] = 0.0

    first = date.fromisoformat(p["first_date"])
    dates = [first + timedelta(days=d) for d in range(p["days"])]
    calendar = np.array([p["weekday"][d.weekday()] * p["month"][d.month - 1] for d in dates])
    sale = np.array([p["sale_factor"] if d.month in p["sale_months"] else 1.0 for d in dates])

    kinds = [(t, tempo) for t in range(len(p["tastes"])) for tempo in range(len(p["tempos"]))]
    prior = np.array([p["tastes"][t]["share"] * p["tempos"][tempo]["share"] for t, tempo in kinds])
    tempos = [p["tempos"][tempo] for _, tempo in kinds]

    taste = _tastes(p, rng, category, popularity, [t for t, _ in kinds])
    follow, addon_item = _followed(p, rng, category, popularity)
    alike = _alike(p, category, rank_in_category, popularity)

    def per_state(name: str) -> np.ndarray:
        return np.array([[tempo[name] * f for f in p["state_factors"][name]] for tempo in tempos])

    def weights(name: str) -> np.ndarray:
        return np.array([[p[name][c] * tempo.get("memory", 1.0) for c in COMPONENTS] for tempo in tempos])

    return World(
        n_items=p["n_items"],
        first_day=(first - date(1970, 1, 1)).days,
        days=p["days"],
        category=category,
        category_names=tuple(p["categories"]),
        price=price,
        cycle=cycle,
        return_rate=np.where(np.arange(V) > 0, np.array(p["category_return_rate"])[category], 0.0),
        sale=sale,
        prior=prior / prior.sum(),
        initial=np.array([tempo["initial"] for tempo in tempos]),
        transition=np.array([tempo["transition"] for tempo in tempos]),
        web=per_state("web"),
        store=per_state("store"),
        buy=per_state("buy"),
        calendar=calendar,
        taste=taste,
        alike=alike,
        follow=follow,
        addon_item=addon_item,
        addon_probability=np.where(addon_item > 0, np.array(p["addon_shares"], float)[None, :], 0.0),
        view_weights=weights("view_weights"),
        order_weights=weights("order_weights"),
        follow_days=float(p["follow_days"]),
        steps_order=np.array(p["steps_order"], float),
        steps_browse=np.array(p["steps_browse"], float),
        cart_probability=float(p["cart_probability"]),
        decay=float(p["decay"]),
        start_early=float(p["start_early"]),
    )
