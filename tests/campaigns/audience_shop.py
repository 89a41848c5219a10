"""A small shop for the tests of audiences, and what its customers are by a computation of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from shipped import CONF
from shopkeeper.campaigns.audience.make import Given, Made, make
from shopkeeper.campaigns.audience.scores import Scores
from shopkeeper.campaigns.audience.settings import Audience
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.models.shares import Contributions
from shopkeeper.typed import read
from tiny import DAY

AT = 200  # the instant asked about, in days
ITEMS = 12


@dataclass(frozen=True)
class Event:
    day: float
    kind: str
    item: int
    price: float


Log = list[list[Event]]  # by customer, oldest first


def shop_log() -> Log:
    """150 customers over 230 days: visits of some views, perhaps a cart, perhaps an order of all of it."""
    rng, log = np.random.default_rng(3), []
    for customer in range(150):
        day, events = rng.uniform(0, 190), list[Event]()
        gap, last = rng.uniform(3, 40), rng.uniform(60, 330)
        while day < 230 and (day < last or not events):
            minute, cart = day, list[int]()
            for _ in range(rng.integers(1, 6)):
                item = int(rng.integers(1, ITEMS + 1))
                events.append(Event(minute, "view", item, np.nan))
                minute += 2 / 1440
                if rng.random() < 0.4:
                    events.append(Event(minute, "add_to_cart", item, np.nan))
                    cart.append(item)
                    minute += 1 / 1440
                    if rng.random() < 0.2:
                        events.append(Event(minute, "remove_from_cart", item, np.nan))
                        cart.remove(item)
                        minute += 1 / 1440
            if cart and rng.random() < 0.6 and customer % 10:
                events += [Event(minute, "purchase", item, float(item)) for item in dict.fromkeys(cart)]
            day += rng.exponential(gap) + 0.1
        log.append([Event(round(e.day * DAY) / DAY, e.kind, e.item, e.price) for e in events])
    return log


LOG = shop_log()


def shipped(name: str, **changes: Any) -> Audience:
    block = yaml.safe_load((CONF / f"audience/{name}.yaml").read_text()) | {"needs_consent": False} | changes
    return read(Audience, block)


def newest(requests: Requests, k: int) -> np.ndarray:
    """A recommender that offers the first items that are not barred."""
    lists = []
    for row in range(len(requests)):
        barred = set() if requests.barred is None else set(
            requests.barred[1][requests.barred[0][row] : requests.barred[0][row + 1]].tolist())  # fmt: skip
        lists.append([i for i in range(1, ITEMS + 1) if i not in barred][:k])
    return np.array([row + [0] * (k - len(row)) for row in lists], np.int32)


def made(shop: Prepared, name: str, changes: dict[str, Any] | None = None, **given: Any) -> Made:
    return make(Given(shipped(name, **(changes or {})), shop, AT * DAY, recommend=newest, **given))


def names_in(found: Made) -> set[int]:
    """Customers by their place in the log."""
    return {int(u) - 1 for u in found.customer}


# By hand, from the events of one customer -------------------------------------------------------------------------


def before(events: list[Event]) -> list[Event]:
    return [e for e in events if e.day < AT]


def orders(events: list[Event]) -> list[float]:
    return sorted({e.day for e in before(events) if e.kind == "purchase"})


def money(events: list[Event]) -> float:
    return sum(e.price for e in before(events) if e.kind == "purchase")


def usual_of_the_shop() -> float:
    gaps = [np.diff(orders(events)).mean() for events in LOG if len(orders(events)) > 1]
    return float(np.median(gaps))


def stands(events: list[Event]) -> str:
    """new, active, at risk, lapsed or won back, as segments.yaml says."""
    days = orders(events)
    if not days:
        return "no order yet"
    shop_gap, gaps = usual_of_the_shop(), list(np.diff(days))
    usual = (sum(gaps) + 2 * shop_gap) / (len(gaps) + 2)
    earlier = (sum(gaps[:-1]) + 2 * shop_gap) / (len(gaps[:-1]) + 2)
    back = bool(gaps) and gaps[-1] >= 3 * earlier
    late = (AT - days[-1]) / (earlier if back else usual)
    if late >= 3:
        return "lapsed"
    if late >= 1.5:
        return "at risk"
    return "won back" if back else "new" if len(days) == 1 else "active"


def top_tier() -> set[int]:
    """Those who bring most, who together bring half of the money."""
    paid = sorted({money(events) for events in LOG if orders(events)}, reverse=True)
    total, so_far, found = sum(money(e) for e in LOG), 0.0, set[int]()
    for amount in paid:
        who = {i for i, events in enumerate(LOG) if orders(events) and money(events) == amount}
        if so_far < 0.5 * total - 1e-9 and amount > 0:
            found |= who
        so_far += amount * len(who)
    return found


def in_cart(events: list[Event], since: float, quiet: float) -> list[int]:
    """What lies in the cart, the newest first."""
    recent = [e for e in before(events) if e.day >= since and e.kind != "view"]
    put_in = [e.day for e in recent if e.kind == "add_to_cart"]
    if not put_in or max(put_in) > quiet:
        return []
    last = {e.item: e for e in recent}
    left = [e for e in last.values() if e.kind == "add_to_cart"]
    return [e.item for e in sorted(left, key=lambda e: -e.day)]


def scores_of(shop: Prepared) -> Scores:
    """Made up: who has ordered has a score; two features add up to it."""
    rng = np.random.default_rng(1)
    has = np.array([bool(orders(events)) for events in LOG])
    share = rng.normal(size=(len(LOG), 2))
    value = np.where(has, 1 / (1 + np.exp(-share.sum(1))), np.nan)

    def explain(customer: np.ndarray) -> tuple[Contributions, np.ndarray, tuple[str, ...]]:
        return Contributions(0.0, share[customer - 1]), share[customer - 1], ("orders", "money")

    reason = np.where(has, "", "no order").astype(object)
    return Scores(value, reason, "probabilities", leaving=False, explain=explain)


# ------------------------------------------------------------------------------------------------------------------
