"""What it gains and costs to carry answers to the shop's time of year (`season` of the blend), and where it is missed.

    python benchmarks/customers_season.py

Who leaves, said by a logistic regression alone at cutoffs whose windows all end before the one of test: log loss as it
answers, after the carry that the blend makes, and with the level that would have been best. Above 0 the carry helps.

And what online_retail's customers bring in the 90 days from a cutoff on, over what they brought in the 90 days before,
at every training cutoff and at that of test, beside how far the sum of `two_part` is from what came, in fifths of
customers by what they spent before: how much of the spend's bias is the whole shop's, and how much the best customers'.
Test's labels are read for this explanation; nothing is chosen by it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from _results import ROOT, at_least, row, write_result
from shopkeeper.customers.base import Cohort
from shopkeeper.customers.build_cohort import as_it_is, build_cohort
from shopkeeper.customers.correction.season import season_of
from shopkeeper.customers.logistic import Logistic
from shopkeeper.customers.two_part import TwoPart
from shopkeeper.data.prepared import Prepared
from shopkeeper.models.about import AMOUNTS
from shopkeeper.models.fit import Fit
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

            def leveled(power: float, said: np.ndarray = said, label: np.ndarray = label) -> float:
                return log_loss(label, said ** np.exp(power))

            best = float(minimize_scalar(leveled, bounds=(-2, 2), method="bounded").fun)
            what = f"{horizon} days from {day_of(int(asked.cutoff[0]))}, log loss"
            found = {"as said": log_loss(label, said), "carried": log_loss(label, carried), "best level": best}
            rows += [row(f"logistic, {how}", name, what, "", [value]) for how, value in found.items()]
            rows.append(row("gain by the carry", name, what, "", [found["as said"] - found["carried"]]))
            print(name, what, {how: round(value, 4) for how, value in found.items()}, flush=True)
    return rows


def of_spend() -> list[dict[str, Any]]:
    """What came over what came before, by cutoff, and the bias of a sum in fifths of customers."""
    shop = Prepared.open(ROOT / "data/prepared/online_retail")
    told = {"truth": as_it_is, "of": "money", "answers": AMOUNTS}
    train, asked, known = cohorts(shop, 90, 90, 7, 90, **told)
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
    said = year.carried(model.predict(asked).value, asked.cutoff, 90, None)
    parts = np.array_split(np.argsort(asked.features[:, place], kind="stable"), FIFTHS)
    most = parts[-1][-len(asked) // 20 :]
    names = [f"fifth {n} by money before" for n in range(1, FIFTHS + 1)]
    for name, some in zip(
        ("everybody", *names, "the best twentieth"), (np.arange(len(asked)), *parts, most), strict=True
    ):
        bias = 100 * float(said[some].sum() / asked.label[some].sum() - 1)
        rows.append(row("two_part, carried", "online_retail", f"spend on test: bias of {name}", "%", [bias]))
        print(name, round(bias, 1), flush=True)
    return rows


def day_of(instant: int) -> str:
    """Of the calendar, UTC."""
    return f"{datetime.fromtimestamp(instant / 1e6, UTC):%Y-%m-%d}"


if __name__ == "__main__":
    rows = [one for name in SHOPS for one in of_churn(name)] + of_spend()
    gained = [(one["median"], one["dataset"]) for one in rows if one["system"] == "gain by the carry"]
    claims = [
        at_least("customers", f"{name}, churn before test, gain in log loss by carrying answers to the time of year, "
                 f"mean of cutoffs", float(np.mean([gain for gain, of in gained if of == name])), 0.0, "aim")
        for name in SHOPS
    ]  # fmt: skip
    write_result("customers_season", rows, claims, note="one run; nothing in it is drawn or timed")
