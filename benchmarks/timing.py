"""Best hours and weekdays: whether they hold later, how often alike customers are called different, how long it takes.

    python benchmarks/timing.py --note "…"

Real and simulated shops: some days before the log's end it is said whether customers' own best hours beat the shop's,
as `audience.py` does, from the days before; then both are held against the visits of the days that follow, which
nobody had looked at. `alike`: customers who all come by the same hours; at a level of 5 %, in how many of 400 draws own
hours are called better. `million`: 1,000,000 customers with 10 visits each, once, on one core.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from _results import ROOT, at_least, at_most, not_had, row, write_result
from _timed import timed
from shopkeeper.campaigns.audience.timing import (
    HOUR,
    KINDS,
    Habits,
    Visits,
    counts,
    judged,
    met,
)
from shopkeeper.data.prepared import Prepared
from shopkeeper.schema import MICROSECONDS_PER_DAY as DAY

SHOPS = {"online_retail": 28.0, "demo_shop": 28.0, "cdnow": 91.0}  # days on which it is judged, and held against later
ALIKE, LEVEL = 400, 0.05
PEOPLE, VISITS = 1_000_000, 10


def later(visits: Visits, kind: str, at: int, days: float) -> dict[str, Any]:
    """What is said at an instant, and by how much own hours met more of the visits of the days that follow."""
    said = judged(visits.some(visits.at < at), kind, at, days)
    before, since = visits.some(visits.at < at), visits.some((visits.at >= at) & (visits.at < at + round(days * DAY)))
    people = np.intersect1d(before.customer, since.customer)
    habits = Habits.of(before, kind)
    own = habits.best(counts(before, kind, people))
    gain = met(since, kind, people, own, int(habits.shop.argmax()))["difference"]
    return {"said": said, "gain": gain["value"], "low": gain["low"], "high": gain["high"], "customers": len(people)}


def of_shop(name: str, folder: Path, days: float) -> dict[str, dict[str, Any]]:
    """Hours and weekdays of one shop."""
    words = [f"dataset={name}", f"paths.prepared={folder}", "progress=false"]
    subprocess.run([sys.executable, str(ROOT / "prepare.py"), *words], cwd=ROOT, check=True, capture_output=True)
    prepared = Prepared.open(folder / name)
    end = prepared.span[1] + 1
    visits = Visits.of(prepared, end)
    return {kind: later(visits, kind, end - round(days * DAY), days) for kind in KINDS}


def called_different(draws: int) -> float:
    """The share of shops of alike customers whose own hours are called better."""
    rng, wrong = np.random.default_rng(3), 0
    share = rng.dirichlet(np.full(24, 2.0))
    for _ in range(draws):
        hour = rng.choice(24, 300 * 12, p=share)
        at = np.tile(np.arange(12) * DAY, 300)
        visits = Visits(np.repeat(np.arange(1, 301), 12), at, at // DAY, hour, hour % 7)
        wrong += judged(visits, "hour", 12 * DAY, 4)["better"]
    return wrong / draws


def with_sales(draws: int) -> tuple[float, float]:
    """The same of weekdays, where each of the days of 12 weeks is as busy as chance has it.

    Half of the customers like the first half of the week, the others the second, so that own best weekdays differ. True
    is what own weekdays would gain over any number of days: by how often an interval of the judged days holds it, over
    customers alone and as it is.
    """
    rng, held = np.random.default_rng(5), np.zeros(2)
    people, weeks = 400, 12
    like = np.where(np.arange(people)[:, None] % 2 == 0, np.arange(7) < 3, np.arange(7) >= 3) * 2.0 + 1.0
    for _ in range(draws):
        busy = rng.gamma(2.0, 0.5, weeks * 7)
        rate = 0.12 * like[:, np.arange(weeks * 7) % 7] * busy
        who, day = np.nonzero(rng.random(rate.shape) < rate)
        visits = Visits(who + 1, day * DAY, day, np.full(len(who), 9), day % 7)
        before, since = visits.some(visits.at < 8 * 7 * DAY), visits.some(visits.at >= 8 * 7 * DAY)
        customer = np.intersect1d(before.customer, since.customer)
        habits = Habits.of(before, "weekday")
        own, shop = habits.best(counts(before, "weekday", customer)), int(habits.shop.argmax())
        found = met(since, "weekday", customer, own, shop)["difference"]
        usual = like[customer - 1] / like[customer - 1].sum(axis=1, keepdims=True)
        true = float((usual[np.arange(len(customer)), own] - usual[:, shop]).mean())
        came = counts(since, "weekday", customer)
        share = came / came.sum(axis=1, keepdims=True)
        gain = share[np.arange(len(customer)), own] - share[:, shop]
        alone = 1.959964 * float(gain.std(ddof=1)) / np.sqrt(len(customer))
        held += (abs(gain.mean() - true) <= alone, found["low"] <= true <= found["high"])
    return float(held[0] / draws), float(held[1] / draws)


def million() -> dict[str, float]:
    """Hours and weekdays of everybody, judged and chosen."""
    rng = np.random.default_rng(1)
    own = rng.integers(0, 24, PEOPLE).repeat(VISITS)
    day = np.sort(rng.integers(0, 365, (PEOPLE, VISITS)), axis=1).ravel()
    hour = np.where(rng.random(len(day)) < 0.3, own, rng.integers(8, 22, len(day)))
    visits = Visits(np.arange(1, PEOPLE + 1).repeat(VISITS), day * DAY + hour * HOUR, day, hour, (day + 3) % 7)
    people = np.arange(1, PEOPLE + 1)

    def work() -> None:
        for kind in KINDS:
            habits, test = Habits.of(visits, kind), judged(visits, kind, 365 * DAY, 28)
            if test["better"]:
                habits.best(counts(visits, kind, people))

    return timed(work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "data" / "bench" / "timing", help="of the prepared shops")
    parser.add_argument("--note", help="what a reader of the result must know, e.g. other work on the machine")
    a = parser.parse_args()
    rows, claims = [], []
    for name, days in SHOPS.items():
        try:
            found = of_shop(name, a.folder.resolve(), days)
        except subprocess.CalledProcessError as e:
            claims.append(not_had("Campaigns", f"best hours of {name}", 0, e.stderr.decode().strip().splitlines()[-1]))
            continue
        for kind, one in found.items():
            said = one["said"]
            print(name, kind, one, flush=True)
            own, shop = said["own"], said["shop"]
            rows.append(row("own", f"{name}, {kind}", "visits met on the days it is judged by", "share", [own]))
            rows.append(row("shop", f"{name}, {kind}", "visits met on the days it is judged by", "share", [shop]))
            ends = [("", "gain"), (", lower end", "low"), (", upper end", "high")]
            rows += [row("own - shop", f"{name}, {kind}", f"visits met later{e}", "share", [one[k]]) for e, k in ends]
            better, told = bool(said["better"]), said["difference"]
            verdict = "said to be better" if better else "not said to be better"
            what = f"{name}, own best {kind}s are {verdict}; later visits of {one['customers']:,} customers"
            apart = one["high"] < told["low"] or told["high"] < one["low"]
            claims.append(at_most("Campaigns", f"{what} lie outside of the interval (1: they do)", float(apart), 0))
            if better:
                what += " confirm it: lower end of the gain"
                claims.append(at_least("Campaigns", what, one["low"], 0, kind="aim"))
            else:
                what += " do not show that they are: lower end of the gain"
                claims.append(at_most("Campaigns", what, one["low"], 0, kind="aim"))
    alone, held = with_sales(ALIKE)
    rows.append(
        row("over customers alone", "days of sales", "intervals that hold the truth", "share of draws", [alone])
    )
    rows.append(
        row("over customers and days", "days of sales", "intervals that hold the truth", "share of draws", [held])
    )
    what = f"weekdays where some days are busy: intervals of 95 % that hold the truth, of {ALIKE} draws"
    claims.append(at_least("Campaigns", what, held, 0.95 - 1.96 * float(np.sqrt(0.95 * 0.05 / ALIKE))))
    alike = called_different(ALIKE)
    rows.append(row("own", "alike", "called better", "share of draws", [alike]))
    bound = LEVEL / 2 + 1.96 * float(np.sqrt(LEVEL / 2 * (1 - LEVEL / 2) / ALIKE))
    what = f"alike customers whose own hours are called better, of {ALIKE} draws (an interval of 95 % has 2.5 % above)"
    claims.append(at_most("Campaigns", what, alike, bound))
    got = million()
    for figure, unit in (("seconds", "s"), ("cpu_seconds", "s of processor time"), ("peak_gib", "GiB")):
        rows.append(row("shopkeeper", "million", figure, unit, [got[figure]]))
    what = f"best hours and weekdays of {PEOPLE:,} customers with {VISITS} visits each: seconds"
    claims.append(at_most("Campaigns", what, got["seconds"], 60, kind="aim"))
    write_result("timing", rows, claims, note=a.note)


if __name__ == "__main__":
    main()
