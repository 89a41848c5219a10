"""`shopkeeper serve` under load on loopback: its limit, 80 % of it for five minutes, and more than it takes.

    python benchmarks/service_load.py [--seconds 300] [--items 50000] [--callers 4]

The service has one core, this client another one. The loop is bounded: so many callers, each of whom asks again once it
was answered. Without a pause that is the limit; at 80 % of it each asks in turn with pauses of random length (half to
one and a half of their mean). A time counts from when its request was due, also where the caller still waited for the
answer before, and beside it from when it was sent: the one is what a shop's page sees, the other what the service does.

The bundle is asked without a service between stretches of the five minutes, on the service's core, so that both meet
the same machine, and in the same two ways: in a loop, from when it was asked, and at the pace of 80 % of that loop,
from when each request was due. Like is compared with like. A time from when a request was due holds all that came due
in a queue or while the machine stood still (a core that stands for 50 ms once a second, as seen here, makes p99 60 ms
of a service whose answers take 2.4), while a loop counts that once for hundreds of requests: the one as a multiple of
the other, which this file claimed until November 2026, says how often the machine stood still. It is a row now. How
often that was is measured (`_pauses.py`), as is what the callers themselves are late.

The limit is found once, in some seconds before the five minutes, while the bundle's pace is found anew beside each of
its stretches: where the machine slows down by a tenth afterwards, the service is asked at 89 % of what it then gives,
and its callers, who each wait for an answer before they ask again, fall behind for as long as that lasts. So the limit
is found anew after each stretch and told beside that stretch's p99; the claim stays that of the one limit.

The same of 1 and 32 callers is said for some seconds each, and of requests that nobody holds back (a Poisson process,
at 80 % of what 4 callers get at most): these wait for each other however quick each answer is (a single server that is
busy 80 % of the time keeps one in a hundred waiting for ten answers), so that they show how long queues grow, not how
long an answer takes. The service's own clock is read from its metrics. Each stretch begins once all callers are
connected, since what a thread needs to begin is not the service's. Above the limit far more connections ask than may
wait: each of them must be answered, or told to come again.

On a busy machine `--before-others` lets both go before everything else there (root's right). It is no real-time class:
Linux stops those for 50 ms of each second in which they used 950, and a service at 80 % of its limit uses more.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import os
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from _bundles import LENGTH, WIDTH, histories, made
from _callers import Client, flooded, looped, steady
from _pauses import Pauses
from _pauses import within as paused_within
from _results import at_least, at_most, row, write_result
from _served import served
from shopkeeper.bundles.answer.bundle import Bundle

CALLERS, BESIDE, POISSON = 4, (1, 32), 32
ABOVE = 800  # connections; the service takes 512 and reads 64 more, as it ships
SOON = 0.005  # a bound of the service's histogram
SHORT = 8  # seconds of what is said beside
STRETCHES = 10  # of the time at 80 %
SHARE = 0.8
ANEW = 2  # seconds in which the limit is found anew after each stretch
ALONE = 4  # seconds that the bundle is asked at its pace, for each stretch
AUTOGROUP = Path("/proc/self/autogroup")


def within(port: int, seconds: float) -> tuple[float, float]:
    """Responses so far, and those within so many seconds, as the service counts them (a bound of its histogram)."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as found:
        lines = dict(line.rsplit(" ", 1) for line in found.read().decode().splitlines() if not line.startswith("#"))
    name = "shopkeeper_response_seconds"
    return float(lines[f"{name}_count"]), float(lines[f'{name}_bucket{{le="{seconds}"}}'])


def alone(bundle: Bundle, asked: list[dict[str, Any]], core: int) -> tuple[np.ndarray, np.ndarray]:
    """Seconds that the bundle itself takes on a core: in a loop, and at 80 % of that from when each was due."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    loop, paced, rng = [], [], np.random.default_rng(1)
    for one in asked * 5:
        start = time.perf_counter()
        bundle.recommend([one["history"]], one["k"])
        loop.append(time.perf_counter() - start)
    loop = loop[len(asked) :]
    each = float(np.mean(loop)) / SHARE
    begin = due = time.perf_counter()
    for one in itertools.cycle(asked):
        if (start := time.perf_counter()) > begin + ALONE:
            break
        if due > start:
            time.sleep(due - start)
        bundle.recommend([one["history"]], one["k"])
        paced.append(time.perf_counter() - due)
        due += rng.uniform(0.5, 1.5) * each
    os.sched_setaffinity(0, before)
    return np.array(loop), np.array(paced)


def asked_and_bodies(items: int) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Requests as the bundle takes them, and as bytes for the service."""
    rng = np.random.default_rng(2)
    lengths = rng.integers(1, LENGTH + 1, 200).tolist()
    asked: list[dict[str, Any]] = [{"history": h, "k": 10} for h in histories(rng, items, lengths)]
    bodies = []
    for one in asked:
        text = json.dumps(one).encode()
        lines = (
            "POST /v1/answer HTTP/1.1",
            "Host: a",
            "Content-Type: application/json",
            f"Content-Length: {len(text)}",
        )
        bodies.append("\r\n".join([*lines, "", ""]).encode() + text)
    return asked, bodies


@dataclass
class Found:
    """What came of the load."""

    limit: float  # answers a second at most
    held: Client  # at 80 % of it
    above: Client  # far more connections than may wait
    beside: dict[str, tuple[float, Client]]  # of other callers: the limit, and 80 % of it
    own: np.ndarray  # seconds of the bundle alone, in a loop
    own_paced: np.ndarray  # and at 80 % of that
    soon: float  # share of the responses at 80 % that took less than SOON by the service's clock
    anew: list[float]  # the limit after each stretch
    p99s: dict[str, list[float]]  # of each stretch, from when a request was due: of the bundle and of the service
    pauses: list[list[float]]  # seconds that the service's and the client's core stood still meanwhile


def loaded(port: int, bundle: Bundle, asked: list[dict[str, Any]], bodies: list[bytes], callers: int, seconds: float,
           cores: list[int]) -> Found:  # fmt: skip
    """Ask the service in all ways, and the bundle in between."""
    looped(port, bodies, callers, 3)
    beside = {}
    for others in BESIDE:
        limit = looped(port, bodies, others, SHORT).asked / SHORT
        beside[f"{others} callers"] = limit, looped(port, bodies, others, SHORT, SHARE * limit)
    limit = looped(port, bodies, callers, SHORT).asked / SHORT
    held, loops, paces, spans, anew, counted = Client(port, bodies), [], [], [], [], []
    p99s: dict[str, list[float]] = {"bundle": [], "service": []}
    seen = [Pauses(core) for core in (cores[0], cores[-1])]
    for _ in range(STRETCHES):
        loop, pace = alone(bundle, asked, cores[0])
        loops.append(loop)
        paces.append(pace)
        before, begin = within(port, SOON), time.perf_counter()
        part = looped(port, bodies, callers, seconds / STRETCHES, SHARE * limit)
        spans.append((begin, time.perf_counter()))
        counted.append(np.subtract(within(port, SOON), before))
        anew.append(looped(port, bodies, callers, ANEW).asked / ANEW)
        for who, times in (("bundle", pace), ("service", part.seconds)):
            p99s[who].append(float(np.percentile(times, 99)))
        held.seconds += part.seconds
        held.sent += part.sent
        held.late += part.late
        held.statuses += part.statuses
        held.asked += part.asked
    pauses = [paused_within(one.end(), spans) for one in seen]
    paced = Client(port, bodies)
    asyncio.run(steady(paced, SHARE * limit, SHORT, POISSON))
    beside["nobody held back"] = limit, paced
    above = Client(port, bodies)
    asyncio.run(flooded(above, ABOVE, 15))
    responses, early = np.sum(counted, axis=0)
    return Found(limit, held, above, beside, np.concatenate(loops), np.concatenate(paces), early / responses,
                 anew, p99s, pauses)  # fmt: skip


def rows_of(found: Found, dataset: str, callers: int) -> list[dict[str, Any]]:
    """The figures."""
    name, held = f"service at 80 %, {callers} callers", found.held
    rows = [row(f"service, {callers} callers", dataset, "answers a second at most", "1/s", [found.limit])]
    due, sent = "a request from when it was due", "a request from when it was sent"
    for who, what, taken in (
        ("bundle in a loop", sent, found.own),
        ("bundle at 80 % of its loop", due, found.own_paced),
        (name, sent, held.sent),
        (name, due, held.seconds),
        (name, "a caller that waits for no answer sends late by", held.late),
    ):
        rows += [row(who, dataset, f"{what}, p{p}", "ms", [np.percentile(taken, p) * 1e3]) for p in (50, 99)]
    rows.append(row(name, dataset, "answers a second at most, anew after each stretch", "1/s", found.anew))
    for who, taken in (("bundle at 80 % of its loop", found.p99s["bundle"]), (name, found.p99s["service"])):
        rows.append(row(who, dataset, f"{due}, p99 of each stretch", "ms", [1e3 * one for one in taken]))
    for where, long in zip(("service", "client"), found.pauses, strict=True):
        rows.append(row(name, dataset, f"pauses of the {where}'s core above 5 ms", "1", [len(long)]))
        rows.append(row(name, dataset, f"pauses of the {where}'s core above 5 ms, together", "ms", [sum(long) * 1e3]))
    rows.append(row(name, dataset, "requests", "1", [held.asked]))
    by_its_clock = f"of its responses within {SOON * 1e3:g} ms by the service's own clock"
    rows.append(row(name, dataset, by_its_clock, "1", [found.soon]))
    for who, (most, other) in found.beside.items():
        rows.append(row(f"service at 80 %, {who}", dataset, "answers a second at most", "1/s", [most]))
        rows += [row(f"service at 80 %, {who}", dataset, f"a request, p{share}", "ms",
                     [np.percentile(other.seconds, share) * 1e3]) for share in (50, 99)]  # fmt: skip
    for who, client in ((name, held), ("service above its limit", found.above)):
        rows += [row(who, dataset, f"responses with {status}" if status else "connections that ended unanswered", "1",
                     [n]) for status, n in sorted(client.statuses.items())]  # fmt: skip
    rows.append(row(name, dataset, "p99 from when it was due, times the bundle's in a loop", "1",
                    [p99_times(held.seconds, found.own)]))  # fmt: skip
    return rows


def p99_times(ours: list[float] | np.ndarray, theirs: np.ndarray) -> float:
    """The one's 99th percentile as a multiple of the other's."""
    return float(np.percentile(ours, 99) / np.percentile(theirs, 99))


def claims_of(found: Found, callers: int, seconds: float) -> list[dict[str, Any]]:
    """What is asked of them."""
    held, above = found.held, found.above
    bad = sum(n for status, n in held.statuses.items() if status != 200)
    return [
        at_least("handover", "seconds at 80 % of the service's limit", seconds, 300),
        at_most("handover", "responses other than 200 in them", bad, 0),
        at_most("handover", f"its p99 there, {callers} callers, from when each was due, times the bundle's at "
                "80 % of its own limit", p99_times(held.seconds, found.own_paced), 5),
        at_most("handover", f"its p99 there, {callers} callers, from when each was sent, times the bundle's",
                p99_times(held.sent, found.own), 5),
        at_least("handover", f"429 above its limit, from {ABOVE} connections", above.statuses[429], 1),
        at_most("handover", "responses above its limit that are neither 200 nor 429",
                sum(n for status, n in above.statuses.items() if status not in (200, 429)), 0),
    ]  # fmt: skip


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--seconds", type=float, default=300, help="at 80 %% of the limit")
    words.add_argument("--items", type=int, default=50_000)
    words.add_argument("--callers", type=int, default=CALLERS)
    words.add_argument("--before-others", action="store_true", help="go before all else on the machine")
    words.add_argument("--note", help="what a reader of the result must know, e.g. other work on the machine")
    told = words.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if told.before_others:
        if os.getsid(0) != os.getpid():  # a group of processes has its share, too: this one gets its own
            os.execvp("setsid", ["setsid", "-w", sys.executable, *sys.argv])
        os.nice(-20)
        if AUTOGROUP.exists():
            AUTOGROUP.write_text("-20")
    asked, bodies = asked_and_bodies(told.items)
    with tempfile.TemporaryDirectory() as place:
        folder = made(told.items, Path(place))
        os.sched_setaffinity(0, {cores[-1]})
        gc.freeze()
        with served(folder, cores[0]) as port:
            found = loaded(port, Bundle.load(folder), asked, bodies, told.callers, told.seconds, cores)
    rows = rows_of(found, f"{told.items:,} items, width {WIDTH}, up to {LENGTH} events", told.callers)
    for one in rows:
        print(f"{one['system']:<34} {one['figure']:<34} {one['median']:.3f} {one['unit']}")
    write_result("service_load", rows, claims_of(found, told.callers, told.seconds), note=told.note)


if __name__ == "__main__":
    main()
