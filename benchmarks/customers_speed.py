"""How fast features, scores and epochs of customer models are; see the claims at the end of its result file.

    python benchmarks/customers_speed.py                       # all three, ten million events
    python benchmarks/customers_speed.py --part epochs         # one of them; the others stay

`features`: 10 million events of 200,000 customers at 8 cutoffs, in one pass over the flat arrays, and by a plain Polars
script (`_features_polars.py`) that takes one cutoff after the other; the same features, compared on a small log before
anything is timed. Each in a process of its own, in turn, `--times` times; a fifth and a half of the events show how the
time grows.

`scores`: a million customers of these 10 million events as of the last day: features alone, then features and what
trees and a blend say of them.

`epochs`: the GRU at 8 cutoffs, whose rows of one customer share one sequence, and the same loop, network and rows with
a sequence for each (customer, cutoff). In turn, on one thread; processor time of the second epoch of each counts. Apart
no more than 8 times as many events are read, since none of a customer's sequences is longer than the shared one: so the
same is asked where customers did more, and at as many cutoffs as a training at weekly ones has.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from _results import RESULTS, ROOT, at_least, at_most, of_file, row, write_result
from _timed import timed

EVENTS, CUSTOMERS, ITEMS, CATEGORIES = 10_000_000, 200_000, 20_000, 50
DAYS, CUTOFFS = 730, 8
DAY = 86_400_000_000  # µs
MILLION = 1_180_000  # of whom a million have an event
TYPES = {"purchase": 0.3, "return": 0.02, "view": 0.58, "add_to_cart": 0.1}
MAX_LENGTH = 256  # events of a sequence
PARTS = ("features", "scores", "epochs")
# Of `epochs`: customers, events of each, cutoffs, days between them.
SEQUENCES = ((600, 60, CUTOFFS, 30), (150, 240, CUTOFFS, 30), (200, 60, 24, 7))


def drawn(n_events: int, n_customers: int, seed: int = 0) -> dict[str, np.ndarray]:
    """A log as columns, sorted by customer and time; orders are of one instant and of one line or several."""
    rng = np.random.default_rng(seed)
    user = np.sort(rng.choice(n_customers, n_events, p=_shares(rng, n_customers))).astype(np.int32) + 1
    second = rng.integers(0, DAYS * 86_400, n_events)
    order = np.lexsort((second, user))
    user, second = user[order], second[order]
    together = (rng.random(n_events) < 0.3) & np.append(False, user[1:] == user[:-1])  # a line of the order before it
    first = np.maximum.accumulate(np.where(together, 0, np.arange(n_events)))
    kind = rng.choice(len(TYPES), n_events, p=list(TYPES.values()))
    return {
        "user": user,
        "item": rng.integers(1, ITEMS + 1, n_events).astype(np.int32),
        "kind": np.where(together, 0, kind).astype(np.int8),
        "time": second[first] * 1_000_000,
        "price": np.round(rng.lognormal(2.5, 0.8, n_events), 2),
        "quantity": rng.integers(1, 4, n_events).astype(np.float64),
        "order": (first + 1).astype(np.int32),
    }


def _shares(rng: np.random.Generator, n: int) -> np.ndarray:
    share = rng.gamma(0.7, 1.0, n) + 1e-3
    return share / share.sum()


def cutoffs(n: int = CUTOFFS, step: int = 30) -> list[int]:
    """The last n, so many days apart."""
    return [(DAYS - step * k) * DAY for k in range(n - 1, -1, -1)]


def as_events(log: dict[str, np.ndarray], n_customers: int) -> tuple[Any, np.ndarray, Any]:
    """The flat arrays, where each customer begins in them, and the shop with its items' categories."""
    from shopkeeper.data.requests import Events
    from shopkeeper.features.customer.shop import Kinds, Shop
    from shopkeeper.schema import EVENT_CODE

    code = np.array([EVENT_CODE[name] for name in TYPES], np.int8)
    events = Events(log["item"], code[log["kind"]], log["time"], log["price"], log["quantity"], log["order"])
    offsets = np.searchsorted(log["user"], np.arange(1, n_customers + 2))
    category = (np.arange(ITEMS + 1) % CATEGORIES + 1).astype(np.int32)
    return events, offsets.astype(np.int64), Shop(category=Kinds(category))


def asked(offsets: np.ndarray, time: np.ndarray, at: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Every customer with an event before each cutoff: customers and cutoffs."""
    begin = time[np.minimum(offsets[:-1], len(time) - 1)]
    has = np.diff(offsets) > 0
    who = [np.flatnonzero(has & (begin < t)) + 1 for t in at]
    return np.concatenate(who), np.repeat(at, [len(one) for one in who])


def in_one_pass(n_events: int, n_customers: int) -> dict[str, float]:
    """Of this process: seconds, peak memory, rows and features."""
    from shopkeeper.features.customer.compute import customer_features

    events, offsets, shop = as_events(drawn(n_events, n_customers), n_customers)
    who, when = asked(offsets, events.timestamp, cutoffs())
    found: list[Any] = []
    spent = timed(lambda: found.append(customer_features(events, offsets, who, when, shop=shop)))
    return spent | {"rows": len(who), "features": len(found[0].names)}


def one_by_one(n_events: int, n_customers: int) -> dict[str, float]:
    """The same by Polars."""
    from _features_polars import features

    frame = _frame(drawn(n_events, n_customers))
    found: list[Any] = []
    spent = timed(lambda: found.append(features(frame, cutoffs())))
    return spent | {"rows": len(found[0]), "features": len(found[0].columns) - 2}


def _frame(log: dict[str, np.ndarray]) -> Any:
    import polars as pl

    names = np.array(list(TYPES), object)
    kind = pl.Series(names[log["kind"]].tolist(), dtype=pl.Enum(list(TYPES)))
    plain = {name: log[name] for name in ("user", "item", "time", "price", "quantity", "order")}
    return pl.DataFrame({**plain, "category": log["item"] % CATEGORIES + 1, "type": kind})


def compared(n_events: int = 30_000, n_customers: int = 700) -> int:
    """How many numbers both agree on; an AssertionError where they do not."""
    from _features_polars import features
    from shopkeeper.features.customer.compute import customer_features

    log = drawn(n_events, n_customers, seed=1)
    events, offsets, shop = as_events(log, n_customers)
    who, when = asked(offsets, events.timestamp, cutoffs())
    mine = customer_features(events, offsets, who, when, shop=shop)
    other = features(_frame(log), cutoffs())
    assert other["user"].to_list() == who.tolist()
    n = 0
    for column, name in enumerate(mine.names):
        told = other[name].cast(float).fill_null(np.nan).to_numpy() if name in other.columns else None
        assert told is not None, name
        ours = mine.values[:, column]
        if name in ("orders", *(c for c in mine.names if c.startswith(("orders_", "order_")))):
            told = np.nan_to_num(told)  # who never ordered has no order; Polars' join says nothing
        finite = np.isfinite(ours) & np.isfinite(told)
        assert (np.isfinite(ours) == np.isfinite(told)).all(), name
        np.testing.assert_allclose(ours[finite], told[finite], err_msg=name, rtol=1e-9, atol=1e-9)
        n += int(finite.sum())
    return n


def scores(n_events: int) -> dict[str, Any]:
    """Seconds of features alone, and of features and scores, of a million customers."""
    from shopkeeper.customers.base import Cohort
    from shopkeeper.customers.lightgbm import LightGBM
    from shopkeeper.customers.logistic import Logistic
    from shopkeeper.features.customer.compute import customer_features
    from shopkeeper.models.fit import Fit

    n = n_events * MILLION // EVENTS
    events, offsets, shop = as_events(drawn(n_events, n), n)
    who, when = asked(offsets, events.timestamp, [DAYS * DAY])

    def cohort(rows: np.ndarray, at: np.ndarray) -> Cohort:
        table = customer_features(events, offsets, rows, at, shop=shop)
        start = offsets[rows - 1]
        return Cohort(rows.astype(np.int32), at, table.values, table.names, events, start, offsets[rows], at,
                      horizon_days=30.0, active_events=("purchase",), of_nothing=1.0)  # fmt: skip

    some = np.arange(1, min(20_000, n) + 1)
    some = some[np.diff(offsets)[some - 1] > 0]
    train = cohort(some, np.full(len(some), (DAYS - 60) * DAY))
    gone = np.nan_to_num(train.features[:, 0], nan=1e3) > np.random.default_rng(0).exponential(60, len(some))
    train = replace(train, label=gone.astype(np.float64))
    models: dict[str, Any] = {"lightgbm": LightGBM(), "logistic": Logistic()}
    for model in models.values():
        model.fit(train, None, Fit(seed=1))
    found: dict[str, Any] = {"customers": len(who)}
    alone = timed(lambda: customer_features(events, offsets, who, when, shop=shop))
    found |= {"features": alone["seconds"], "features, processor": alone["cpu_seconds"]}
    for name, model in models.items():
        spent = timed(lambda model=model: model.predict(cohort(who, when)))  # type: ignore[misc]
        found |= {name: spent["seconds"], f"{name}, processor": spent["cpu_seconds"]}
    return found | {"peak_gib": alone["peak_gib"]}


def labelled(n_events: int, n_customers: int, at: list[int]) -> tuple[Any, np.ndarray]:
    """Everybody with an event before each cutoff, labelled by chance, and how many events each row has (n,)."""
    from shopkeeper.customers.base import Cohort
    from shopkeeper.data.ranges import lower_bound

    events, offsets, _ = as_events(drawn(n_events, n_customers), n_customers)
    who, when = asked(offsets, events.timestamp, at)
    start = offsets[who - 1]
    end = lower_bound(events.timestamp, start, offsets[who], when)
    label = (np.random.default_rng(0).random(len(who)) < 0.5).astype(np.float64)
    none = np.zeros((len(who), 0))
    return Cohort(who.astype(np.int32), when, none, (), events, start, end, when, label, horizon_days=30.0), end - start


def epochs(n_customers: int, n_events: int, n_cutoffs: int, step: int) -> dict[str, Any]:
    """Processor seconds of the second epoch with shared sequences and with one for each (customer, cutoff)."""
    from shopkeeper.customers.base import Cohort
    from shopkeeper.customers.networks.gru import GRU
    from shopkeeper.data.requests import Events
    from shopkeeper.models.fit import Fit
    from shopkeeper.training.config import TrainerConfig

    shared, length = labelled(n_events * n_customers, n_customers, cutoffs(n_cutoffs, step))
    base = np.cumsum(length) - length
    rows = np.arange(length.sum()) + np.repeat(shared.start - base, length)
    columns: dict[str, Any] = {k: None if each is None else each[rows] for k, each in vars(shared.events).items()}
    apart = replace(shared, events=Events(**columns), start=base, end=base + length)

    def second(cohort: Cohort) -> float:
        at: list[float] = []
        fit = Fit(
            seed=1,
            trainer=TrainerConfig(accelerator="cpu", precision="fp32", threads=1, validation_requests=0),
            log=lambda metrics, epoch: at.append(time.process_time()),
            progress=False,
        )
        GRU(width=32, max_length=MAX_LENGTH, epochs=3, batch_size=64).fit(cohort, None, fit)
        return at[2] - at[1]

    read, of = np.minimum(length, MAX_LENGTH), np.unique(shared.customer, return_inverse=True)[1]
    longest = np.zeros(of.max() + 1, np.int64)
    np.maximum.at(longest, of, read)
    return {
        "events": float(read.sum() / longest.sum()),  # read apart, over those that are read once for a customer
        "shared": second(shared),
        "apart": second(apart),
    }


WORK: dict[str, Callable[..., dict[str, Any]]] = {
    "in_one_pass": in_one_pass,
    "one_by_one": one_by_one,
    "scores": scores,
    "epochs": epochs,
}


def apart(name: str, *told: int) -> dict[str, Any]:
    """What a function returns in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--child", name, *map(str, told)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def of_features(times: int, scale: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and claims."""
    print(f"{compared():,} numbers of a small log are the same in both", flush=True)
    n, people = round(EVENTS * scale), round(CUSTOMERS * scale)
    log = f"{n:,} events, {CUTOFFS} cutoffs"
    found: dict[str, list[dict[str, Any]]] = {"in_one_pass": [], "one_by_one": []}
    for _ in range(times):
        for name, runs in found.items():
            runs.append(apart(name, n, people))
            print(name, runs[-1], flush=True)
    fewer = {share: apart("in_one_pass", round(n * share), round(people * share)) for share in (0.2, 0.5)}
    rows, median = [], {}
    for name, system in (("in_one_pass", "shopkeeper, one pass"), ("one_by_one", "Polars, one cutoff after the other")):
        for figure, unit in (("seconds", "s"), ("cpu_seconds", "s"), ("peak_gib", "GiB"), ("features", "")):
            rows.append(row(system, log, f"features: {figure}", unit, [one[figure] for one in found[name]]))
            median[name, figure] = rows[-1]["median"]
    for share, one in fewer.items():
        rows.append(row("shopkeeper, one pass", f"{round(n * share):,} events, {CUTOFFS} cutoffs", "features: seconds",
                        "s", [one["seconds"]]))  # fmt: skip
    mine = median["in_one_pass", "seconds"]
    beside = mine / median["one_by_one", "seconds"]
    growth = mine / (fewer[0.2]["seconds"] * 5)
    what = f"features, {log}, "
    return rows, [
        at_most("customers", f"{what}time beside a plain Polars script's", beside, 1 / 3),
        at_most("customers", f"{what}memory in GiB", median["in_one_pass", "peak_gib"], 6.0),
        at_most("customers", f"{what}time beside five times that of a fifth (linear: 1)", growth, 1.2),
    ]  # fmt: skip


def of_scores(times: int, scale: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and claims."""
    runs = [apart("scores", round(EVENTS * scale)) for _ in range(times)]
    log = f"{runs[0]['customers']:,} customers as of today, {round(EVENTS * scale):,} events"
    rows = [row("shopkeeper", log, f"scores: {name}", "s", [one[name] for one in runs])
            for name in ("features", "lightgbm", "logistic")]  # fmt: skip
    used = [row("shopkeeper", log, f"scores: {name}, processor", "s", [one[f"{name}, processor"] for one in runs])
            for name in ("features", "lightgbm", "logistic")]  # fmt: skip
    return rows + used, [  # of one thread all: what else runs on the machine changes less of it than of the clock's
        at_most("customers", f"scores, {log}, {name}: processor time beside that of features alone",
                one["median"] / used[0]["median"], 1.5)
        for name, one in zip(("lightgbm", "logistic"), used[1:], strict=True)
    ]  # fmt: skip


def of_epochs(times: int, scale: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and claims."""
    systems = {"shared": "a sequence per customer", "apart": "a sequence per customer and cutoff"}
    rows, claims = [], []
    for people, events, at, step in SEQUENCES:
        n = round(people * scale)
        runs = [apart("epochs", n, events, at, step) for _ in range(times)]
        log = f"{n:,} customers of {events} events at {at} cutoffs"
        mine = [row(system, log, "epochs: processor seconds of the GRU's second", "s", [one[name] for one in runs])
                for name, system in systems.items()]  # fmt: skip
        read = [one["events"] for one in runs]  # the most that sharing a sequence can spare, whatever the loop
        rows += [*mine, row(systems["apart"], log, "epochs: events read, over those of shared sequences", "", read)]
        ratio = mine[1]["median"] / mine[0]["median"]
        what = f"epochs, {log}, times as fast as a sequence per customer and cutoff"
        claims.append(at_least("customers", what, ratio, 10.0, None if at == CUTOFFS else "aim"))
        print(log, round(ratio, 2), read, flush=True)
    return rows, claims


MEASURE = {"features": of_features, "scores": of_scores, "epochs": of_epochs}


def main(parts: tuple[str, ...], times: int, scale: float) -> None:
    """Measure the parts anew, and keep the others."""
    rows, claims = of_file("customers_speed")
    for part in parts:
        rows = [one for one in rows if not one["figure"].startswith(f"{part}:")]
        claims = [one for one in claims if not one["what"].startswith(f"{part},")]
        mine, said = MEASURE[part](times, scale)
        rows, claims = rows + mine, claims + said
    write_result("customers_speed", rows, claims, folder=RESULTS if scale == 1 else ROOT / "data/bench")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, nargs="+", default=list(PARTS))
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of all sizes, to try it; then data/bench has the result"
    )
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.child:
        name, *sizes = told.child
        print(json.dumps(WORK[name](*map(int, sizes))))
    else:
        main(tuple(told.part), told.times, told.scale)
