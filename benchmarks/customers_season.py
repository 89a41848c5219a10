"""What it gains and costs to carry answers to the shop's time of year (`season` of the blend), and where it is missed.

    python benchmarks/customers_season.py

Who leaves, said by a logistic regression alone at cutoffs whose windows all end before the one of test: log loss as it
answers, after the carry that the blend makes, after one by a smoothed level, and with the level that would have been
best. Above 0 the carry helps.

And what online_retail's customers bring in the 90 days from a cutoff on, over what they brought in the 90 days before,
at every training cutoff and at that of test, beside how far the sum of `two_part` is from what came, in fifths of
customers by what they spent before: how much of the spend's bias is the whole shop's, and how much the best customers'.
Test's labels are read for this explanation; nothing is chosen by it. Carried by what the window really brought to the
shop, and to these customers, nobody could have known: they show how much of what is missed is the season.

And how far off the logarithm of all the customers' money is at weekly cutoffs whose windows end before the one of test,
if the level stays what it was in the training windows, and if it follows a forecast for the shop: the blend's (a
Gaussian process), a smoothed level, Holt's damped trend (E. Gardner and E. McKenzie, Management Science 31, 1985), how
many more customers are asked about than before, or what the shop really brought.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from _results import ROOT, at_least, row, write_result
from shopkeeper.customers.base import Cohort
from shopkeeper.customers.build_cohort import as_it_is, build_cohort
from shopkeeper.customers.correction.season import season_of, totals_until, what_came
from shopkeeper.customers.logistic import Logistic
from shopkeeper.customers.two_part import TwoPart
from shopkeeper.customers.window import MONEY, ORDERS
from shopkeeper.data.prepared import Prepared
from shopkeeper.models.about import AMOUNTS
from shopkeeper.models.fit import Fit
from shopkeeper.programs.season import BEFORE, CLOSED, FEWEST_WEEKS, WEEK, expected_ratio
from shopkeeper.schema import MICROSECONDS_PER_DAY as DAY
from shopkeeper.timeline import floor_day

# Of each shop (horizon, active days, days from one training cutoff to the next, how many days before the end of the log
# the cutoffs that are judged lie). Windows of the test cutoff, a horizon before the end, are in none of them.
SHOPS = {
    "online_retail": ((90, 90, 7, (180,)), (45, 90, 14, (135, 166)), (60, 90, 14, (152,))),
    "cdnow": ((91, 180, 30, (182,)),),
    "demo_shop": ((30, 60, 30, (60, 90, 120, 180)),),
}
FIFTHS = 5
TOLD: dict[str, Any] = {"truth": as_it_is, "of": MONEY, "answers": AMOUNTS}
# Horizon, active days, and days at the end of the log in which no window may lie: those of test.
LEVELS = {
    "online_retail": ((60, 90, 90), (45, 90, 90), (30, 90, 90)),
    "cdnow": ((91, 180, 91), (45, 120, 91)),
    "demo_shop": ((60, 90, 60), (30, 60, 60)),
}
FEWEST_BEFORE = 4  # training windows
SMOOTHED, TREND, DAMPED = 0.3, 0.1, 0.9  # usual, not learnt


def cohorts(
    shop: Prepared, horizon: int, active: int, step: int, ago: int, **told: Any
) -> tuple[Cohort, Cohort, list[int]]:
    """Who is learnt from and who is asked, and the training cutoffs."""
    end = floor_day(shop.span[1], shop.zone)
    cutoff = end - ago * DAY
    known = list(range(cutoff - horizon * DAY, shop.span[0] + active * DAY, -step * DAY))[::-1]
    train = build_cohort(shop, known, horizon, active, observed_until=cutoff, **told)
    return train, build_cohort(shop, cutoff, horizon, active, observed_until=cutoff + horizon * DAY, **told), known


def log_loss(label: np.ndarray, said: np.ndarray) -> float:
    """Mean."""
    said = np.clip(said, 1e-6, 1 - 1e-6)
    return float(-np.where(label > 0.5, np.log(said), np.log1p(-said)).mean())


def of_churn(name: str) -> list[dict[str, Any]]:
    """Log losses of a shop's cutoffs, as said, carried, and with the best exponent."""
    shop, rows = Prepared.open(ROOT / "data/prepared" / name), []
    for horizon, active, step, agos in SHOPS[name]:
        for ago in agos:
            train, asked, _ = cohorts(shop, horizon, active, step, ago)
            model = Logistic(inverse_penalty=0.01)
            model.fit(train, None, Fit(seed=1))
            said, year, label = model.predict(asked).value, season_of(train), asked.label
            assert year is not None
            assert label is not None
            carried = year.carried(said, asked.cutoff, horizon, asked.of_nothing)
            level = smoothed(totals(train, int(asked.cutoff[0]), ORDERS), horizon) / np.exp(year.learnt)

            def leveled(power: float, said: np.ndarray = said, label: np.ndarray = label) -> float:
                return log_loss(label, said ** np.exp(power))

            best = float(minimize_scalar(leveled, bounds=(-2, 2), method="bounded").fun)
            what = f"{horizon} days from {day_of(int(asked.cutoff[0]))}, log loss"
            found = {"as said": log_loss(label, said), "carried": log_loss(label, carried),
                     "by a smoothed level": log_loss(label, said**level), "best level": best}  # fmt: skip
            rows += [row(f"logistic, {how}", name, what, "", [value]) for how, value in found.items()]
            rows.append(row("gain by the carry", name, what, "", [found["as said"] - found["carried"]]))
            print(name, what, {how: round(value, 4) for how, value in found.items()}, flush=True)
    return rows


def of_spend() -> list[dict[str, Any]]:
    """What came over what came before, by cutoff, and the bias of a sum in fifths of customers."""
    shop = Prepared.open(ROOT / "data/prepared/online_retail")
    train, asked, known = cohorts(shop, 90, 90, 7, 90, **TOLD)
    place = asked.feature_names.index("money_90d")
    rows = []
    for cohort, cutoffs in ((train, known), (asked, [int(asked.cutoff[0])])):
        assert cohort.label is not None
        for cutoff in cutoffs:
            at = cohort.cutoff == cutoff
            share = float(cohort.label[at].sum() / cohort.features[at, place].sum())
            rows.append(row("the log", "online_retail", f"money of 90 days from {day_of(cutoff)} over 90 before", "",
                            [share]))  # fmt: skip
    model = TwoPart()
    model.fit(train, None, Fit(seed=1))
    year = season_of(train)
    assert year is not None
    assert asked.label is not None
    plain = model.predict(asked).value
    said = year.carried(plain, asked.cutoff, 90, None)
    parts = np.array_split(np.argsort(asked.features[:, place], kind="stable"), FIFTHS)
    most = parts[-1][-len(asked) // 20 :]
    names = [f"fifth {n} by money before" for n in range(1, FIFTHS + 1)]
    for name, some in zip(
        ("everybody", *names, "the best twentieth"), (np.arange(len(asked)), *parts, most), strict=True
    ):
        bias = 100 * float(said[some].sum() / asked.label[some].sum() - 1)
        rows.append(row("two_part, carried", "online_retail", f"spend on test: bias of {name}", "%", [bias]))
        print(name, round(bias, 1), flush=True)
    shop_brought = brought(asked, int(asked.cutoff[0]), 90) / np.exp(year.learnt)
    ways = {"as said": plain, "carried": said, "knowing what the shop brought": plain * shop_brought,
            "knowing what these customers brought": plain * asked.label.sum() / plain.sum()}  # fmt: skip
    for name, value in ways.items():
        found = {"bias in %": 100 * float(value.sum() / asked.label.sum() - 1),
                 "mean absolute error": float(np.abs(value - asked.label).mean())}  # fmt: skip
        rows += [row(f"two_part, {name}", "online_retail", f"spend on test: {figure}", "", [x])
                 for figure, x in found.items()]  # fmt: skip
        print(name, {figure: round(x, 1) for figure, x in found.items()}, flush=True)
    return rows


def brought(cohort: Cohort, cutoff: int, horizon: int) -> float:
    """What a day of the window brought to the shop over a day of the 90 before it: known to nobody at the cutoff."""
    before, both = (totals(cohort, t) for t in (cutoff, cutoff + horizon * DAY))
    return float((both.sum() - before.sum()) / horizon / before[-BEFORE:].mean())


def totals(cohort: Cohort, until: int, of: str = MONEY) -> np.ndarray:
    """Money, or orders, of the whole shop on each of the days that end at `until`."""
    assert cohort.offsets is not None
    return totals_until(until, *what_came(cohort.newest_log, cohort.offsets, of))


def smoothed(total: np.ndarray, horizon: int, trend: float = 0.0) -> float:
    """`expected_ratio` by a smoothed level of the logarithm of weeks, with Holt's damped trend where `trend` is > 0."""
    weeks = len(total) // WEEK
    if weeks < FEWEST_WEEKS:
        return 1.0
    week = total[len(total) - WEEK * weeks :].reshape(weeks, WEEK).sum(axis=1)
    z = np.log(week[week > CLOSED * np.median(week[week > 0])])
    level, rise = float(z[:4].mean()), 0.0
    for x in z[1:]:
        before, level = level, SMOOTHED * x + (1 - SMOOTHED) * (level + DAMPED * rise)
        rise = trend * (level - before) + (1 - trend) * DAMPED * rise if trend else 0.0
    ahead = level + rise * np.cumsum(DAMPED ** np.arange(1, round(horizon / WEEK) + 1))
    return float(np.exp(ahead).mean() / WEEK / total[-BEFORE:].mean())


def of_levels(name: str) -> list[dict[str, Any]]:
    """Root mean squares of how far off the logarithm of the customers' money is, by each way."""
    shop, rows = Prepared.open(ROOT / "data/prepared" / name), []
    for horizon, active, kept in LEVELS[name]:
        last = floor_day(shop.span[1], shop.zone) - (kept + horizon) * DAY
        cutoffs = list(range(last, shop.span[0] + min(active, 60) * DAY, -WEEK * DAY))[::-1]
        cohort = build_cohort(shop, cutoffs, horizon, active, observed_until=last + horizon * DAY, **TOLD)
        off = levels(cohort, cutoffs, horizon)
        what = f"{horizon} days, log of the customers' money, {len(off['stays'])} cutoffs"
        rows += [row(f"level: {way}", name, what, "", [float(np.sqrt(np.mean(np.square(one))))])
                 for way, one in off.items()]  # fmt: skip
        print(name, what, {r["system"]: round(r["median"], 3) for r in rows[-len(off) :]}, flush=True)
    return rows


def levels(cohort: Cohort, cutoffs: list[int], horizon: int) -> dict[str, list[float]]:
    """By each way, how far off it is at each cutoff that has enough training windows before it."""
    assert cohort.label is not None
    place = cohort.feature_names.index("money_90d")
    of = [cohort.cutoff == t for t in cutoffs]
    came = np.array([np.log(cohort.label[at].sum() / cohort.features[at, place].sum()) for at in of])
    asked = np.log([at.sum() for at in of])
    shop = np.log([brought(cohort, t, horizon) for t in cutoffs])
    off: dict[str, list[float]] = {}
    for i, cutoff in enumerate(cutoffs):
        known = [k for k, t in enumerate(cutoffs) if t + horizon * DAY <= cutoff]
        if len(known) < FEWEST_BEFORE:
            continue
        total, learnt = totals(cohort, cutoff), shop[known].mean()
        ways = {"stays": 0.0, "carried": np.log(expected_ratio(total, horizon)) - learnt,
                "a smoothed level": np.log(smoothed(total, horizon)) - learnt,
                "Holt's damped trend": np.log(smoothed(total, horizon, TREND)) - learnt,
                "by the number of customers": (asked[known].mean() - asked[i]) / 2,
                "knowing what the shop brought": shop[i] - learnt}  # fmt: skip
        for way, change in ways.items():
            off.setdefault(way, []).append(float(came[known].mean() + change - came[i]))
    return off


def day_of(instant: int) -> str:
    """Of the calendar, UTC."""
    return f"{datetime.fromtimestamp(instant / 1e6, UTC):%Y-%m-%d}"


if __name__ == "__main__":
    rows = [one for name in SHOPS for one in of_churn(name)] + of_spend()
    rows += [one for name in LEVELS for one in of_levels(name)]
    gained = [(one["median"], one["dataset"]) for one in rows if one["system"] == "gain by the carry"]
    claims = [
        at_least("customers", f"{name}, churn before test, gain in log loss by carrying answers to the time of year, "
                 f"mean of cutoffs", float(np.mean([gain for gain, of in gained if of == name])), 0.0, "aim")
        for name in SHOPS
    ]  # fmt: skip
    write_result("customers_season", rows, claims, note="one run; nothing in it is drawn or timed")
