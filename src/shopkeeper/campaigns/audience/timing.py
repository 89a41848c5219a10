r"""At which hour and on which weekday a customer is there, as far as that is the customer's own and not the shop's.

A visit is an hour in which a customer did anything. Of n visits of a customer, n_k of them at hour k, the share of the
next one at k is expected to be

    (n_k + s q_k) / (n + s)

with the shop's share q_k and a strength s that is learnt from all customers: the mean of a Dirichlet-multinomial whose
s has the highest marginal likelihood (empirical Bayes; T. Minka, "Estimating a Dirichlet distribution", 2000). Where
customers hardly differ s is large, and everybody's best hour is the shop's.

Whether own hours are any better is looked up before they are used: chosen from what was known some days ago, the hours
are held against the visits since, beside the shop's best hour for all, in the mean over customers. Its interval is over
customers and over days at once: on a day of a sale all come together, and four weeks hold only four Thursdays
(variances by two clusters: A. Cameron, J. Gelbach and D. Miller, "Robust inference with multiway clustering", 2011).

Shapes: n customers, K hours or weekdays, R visits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from shopkeeper.data.prepared import Prepared
from shopkeeper.schema import MICROSECONDS_PER_DAY
from shopkeeper.timeline.zones import instant_of, local

HOUR = MICROSECONDS_PER_DAY // 24
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
KINDS = {"hour": 24, "weekday": 7}
SAMPLE = 20_000  # customers from whom the strength is learnt
STRONGEST = 1e4
FEWEST = 50  # customers with visits before and since, from whom anything is said
CONFIDENCE = 0.95
FEWEST_DAYS = 14  # from which on days are held against those of the same weekday


@dataclass(frozen=True)
class Visits:
    """Hours in which customers did anything, by customer and time."""

    customer: np.ndarray  # int64 (R,) internal ids
    at: np.ndarray  # int64 (R,) µs: the first event
    day: np.ndarray  # int64 (R,) since the epoch, on the shop's clocks
    hour: np.ndarray  # int64 (R,) 0 to 23, on the shop's clocks
    weekday: np.ndarray  # int64 (R,) 0: Monday

    @classmethod
    def of(cls, prepared: Prepared, at: int) -> Visits:
        """Those before an instant, of customers who agree at it."""
        time, owner = prepared.events.timestamp, prepared.event_user
        assert time is not None
        rows = np.flatnonzero(np.asarray(time) < at)
        when, who = np.asarray(time)[rows], owner[rows].astype(np.int64)
        slot = local(when, prepared.zone) // HOUR
        new = np.ones(len(rows), bool)
        new[1:] = (slot[1:] != slot[:-1]) | (who[1:] != who[:-1])
        if prepared.consent is not None:
            new &= prepared.consent.holds(who, at)
        day = slot[new] // 24
        return cls(who[new], when[new], day, slot[new] % 24, (day + 3) % 7)  # day 0 of the epoch was a Thursday

    def some(self, rows: np.ndarray) -> Visits:
        """Those of a mask."""
        return Visits(self.customer[rows], self.at[rows], self.day[rows], self.hour[rows], self.weekday[rows])


@dataclass(frozen=True)
class Habits:
    """What is learnt from visits of all customers."""

    shop: np.ndarray  # float64 (K,): shares
    strength: float  # s

    @classmethod
    def of(cls, visits: Visits, kind: str) -> Habits:
        """Of hours or weekdays."""
        from scipy.optimize import minimize_scalar
        from scipy.special import gammaln

        K, value = KINDS[kind], getattr(visits, kind)
        shop = (np.bincount(value, minlength=K) + 1.0) / (len(value) + K)
        people = np.unique(visits.customer)
        if len(people) > SAMPLE:
            people = np.sort(np.random.default_rng(0).choice(people, SAMPLE, replace=False))
        count_nK = counts(visits, kind, people)
        total_n = count_nK.sum(axis=1)

        def cost(log_s: float) -> float:
            s = np.exp(log_s)
            own = gammaln(s * shop + count_nK).sum(axis=1) - gammaln(s * shop).sum()
            return -float((gammaln(s) - gammaln(s + total_n) + own).sum())

        found = minimize_scalar(cost, bounds=(np.log(0.1), np.log(STRONGEST)), method="bounded")
        return cls(shop, float(np.exp(found.x)))

    def best(self, count_nK: np.ndarray) -> np.ndarray:
        """The most likely of each customer, the first of equals: int64 (n,)."""
        return np.asarray((count_nK + self.strength * self.shop).argmax(axis=1))


def counts(visits: Visits, kind: str, customer: np.ndarray) -> np.ndarray:
    """Visits of customers (ids ascending, (n,)) at each hour or on each weekday: int64 (n, K)."""
    K = KINDS[kind]
    place = np.searchsorted(customer, visits.customer)
    known = (place < len(customer)) & (customer[np.minimum(place, len(customer) - 1)] == visits.customer)
    key = place[known] * K + getattr(visits, kind)[known]
    return np.bincount(key, minlength=len(customer) * K).reshape(len(customer), K)


def judged(visits: Visits, kind: str, at: int, days: float) -> dict[str, Any]:
    """Own best hours of so many days ago against the shop's, on the visits since: the share of them that was met.

    Returns:
        `own` and `shop`, means over customers; their `difference` with its interval, `customers`, and `better`: whether
        the interval lies above 0.
    """
    then = at - round(days * MICROSECONDS_PER_DAY)
    before, since = visits.some(visits.at < then), visits.some(visits.at >= then)
    people = np.intersect1d(before.customer, since.customer)
    if len(people) < FEWEST:
        return {"own": None, "shop": None, "difference": None, "customers": len(people), "better": False}
    habits = Habits.of(before, kind)
    own_n = habits.best(counts(before, kind, people))
    found = met(since, kind, people, own_n, int(habits.shop.argmax()))
    return {**found, "customers": len(people), "better": found["difference"]["low"] > 0}


def met(since: Visits, kind: str, customer: np.ndarray, own_n: np.ndarray, shop: int) -> dict[str, Any]:
    """The share of visits that own hours met, that the shop's met, and the difference, in the mean over customers.

    Args:
        since: the visits; those of other customers count in nothing.
        kind: hour or weekday.
        customer: ids, ascending (n,); each with a visit.
        own_n: their own best ones.
        shop: the shop's.

    The interval comes of customers and days, see `_ends`.
    """
    place = np.minimum(np.searchsorted(customer, since.customer), len(customer) - 1)
    mine = customer[place] == since.customer
    who, value, day = place[mine], getattr(since, kind)[mine], since.day[mine]
    weight = 1.0 / (np.bincount(who, minlength=len(customer))[who] * len(customer))
    of_own, of_shop = (float((weight * (value == best)).sum()) for best in (own_n[who], shop))
    difference = of_own - of_shop
    apart = weight * ((value == own_n[who]) * 1.0 - (value == shop) - difference)
    ends = _ends(difference, apart, who, day)
    return {"own": of_own, "shop": of_shop, "difference": {"value": difference, "low": ends[0], "high": ends[1]}}


def _ends(value: float, apart: np.ndarray, who: np.ndarray, day: np.ndarray) -> tuple[float, float]:
    """Ends of the interval of a sum, over customers and over days at once.

    Args:
        value: the sum.
        apart: what each visit adds to how far it is off, float64 (R,).
        who: whose it is, (R,).
        day: when, in days since the epoch on the shop's clocks, (R,): UTC's midnight may cut the day of a sale.

    To the variance between customers comes what days differ by beyond that: of days of one weekday, since how many
    Thursdays there were is no chance; of less than two weeks of all days. Where nothing of it can be seen, in visits of
    one day, it has no ends but the whole scale.
    """
    from scipy.special import stdtrit

    days, place = np.unique(day, return_inverse=True)
    total = np.bincount(place, apart)
    kind = days % 7 if len(days) >= FEWEST_DAYS else np.zeros(len(days), np.int64)
    alike = np.bincount(kind)[kind]
    centred = total - (np.bincount(kind, total) / np.maximum(np.bincount(kind), 1))[kind]
    free = len(days) - len(np.unique(kind))
    people = len(np.unique(who))
    if free < 1 or people < 2:
        return -1.0, 1.0
    of_days = float((centred**2 * alike / np.maximum(alike - 1, 1)).sum()) - _squares(apart, who * len(days) + place)
    variance = _squares(apart, who) * people / (people - 1) + max(of_days, 0.0)
    wide = float(stdtrit(min(people - 1, free), (1 + CONFIDENCE) / 2)) * float(np.sqrt(variance))
    return value - wide, value + wide


def _squares(values: np.ndarray, group: np.ndarray) -> float:
    """Sum over groups of the square of what values of a group sum to."""
    _, place = np.unique(group, return_inverse=True)
    return float((np.bincount(place, values) ** 2).sum())


def best_times(prepared: Prepared, customer: np.ndarray, at: int, days: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """Best hour and weekday of customers (internal ids (n,)), their own where that is shown to be better: by kind.

    Returns:
        int64 (n,) by kind, and what the card says of each: the shop's best one, the strength, how it was judged. Of a
        log that has days and no hours, no hours.
    """
    visits = Visits.of(prepared, at)
    order = np.argsort(customer, kind="stable")
    found, said = {}, {}
    days_alone = not (local(visits.at, prepared.zone) % MICROSECONDS_PER_DAY).any()  # dates: nothing is known of hours
    for kind in KINDS if not days_alone else ("weekday",):
        habits, test = Habits.of(visits, kind), judged(visits, kind, at, days)
        best = np.full(len(customer), int(habits.shop.argmax()))
        if test["better"]:
            best[order] = habits.best(counts(visits, kind, customer[order]))
        found[kind] = best
        said[kind] = {"of_the_shop": int(habits.shop.argmax()), "strength": habits.strength, "days": days, **test}
    return found, said


def send_times(at: int, days: np.ndarray, hour: np.ndarray, zone: str) -> np.ndarray:
    """So many days after an instant, at an hour of that day on the shop's clocks: µs, float64 (n,), NaN where NaN.

    On the first day an hour that is over by the instant is that of the next day.
    """
    known = np.isfinite(days)
    then = np.where(known, at + np.nan_to_num(days) * MICROSECONDS_PER_DAY, at).astype(np.int64)
    shown = local(then, zone) // MICROSECONDS_PER_DAY * MICROSECONDS_PER_DAY + hour * HOUR
    shown += np.where(shown < int(local(np.array(at), zone)), MICROSECONDS_PER_DAY, 0)
    kinds, place = np.unique(shown, return_inverse=True)
    found = np.array([instant_of(int(x), zone) for x in kinds], np.float64)[place]
    return np.where(known, found, np.nan)
