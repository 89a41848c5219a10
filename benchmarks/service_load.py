"""`shopkeeper serve` under load on loopback: its limit, 80 % of it for five minutes, and more than it takes.

    python benchmarks/service_load.py [--seconds 300] [--items 50000] [--callers 4]

The service has one core, this client another one. The loop is bounded: so many callers, each of whom asks again once it
was answered. Without a pause that is the limit; at 80 % of it each asks in turn with pauses of random length (half to
one and a half of their mean), and a time counts from when its request was due, also where the caller still waited for
the answer before. The same of 1 and 32 callers is said for ten seconds each, and of requests that nobody holds back (a
Poisson process, at 80 % of what 4 callers get at most): these wait for each other however quick each answer is (a
single server that is busy 80 % of the time keeps one in a hundred waiting for ten answers), so that they show how long
queues grow, not how long an answer takes. The service's own clock is read from its metrics. The bundle is asked
without a service between stretches of the five minutes, so that both meet the same machine; each stretch begins once
all callers are connected, since what a thread needs to begin is not the service's. Above the limit far more
connections ask than may wait: each of them must be answered, or told to come again.

On a busy machine `--real-time` lets both go before everything else there (root's right).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from _bundles import LENGTH, WIDTH, histories, made
from _results import at_least, at_most, row, write_result
from shopkeeper.bundles.answer.bundle import Bundle

CALLERS, BESIDE, POISSON = 4, (1, 32), 32
ABOVE = 800  # connections; the service takes 512 and reads 64 more, as it ships
SOON = 0.005  # a bound of the service's histogram
SHORT = 10  # seconds of what is said beside
STRETCHES = 10  # of the time at 80 %


@dataclass
class Client:
    """Connections that are kept open, and what came back over them."""

    port: int
    bodies: list[bytes]
    free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    asked: int = 0

    async def ask(self, due: float | None = None) -> int:
        """One request; its time counts from when it was due. 0: the connection ended without an answer."""
        start = time.perf_counter() if due is None else due
        reader, writer = await self.connection()
        self.asked += 1
        writer.write(self.bodies[self.asked % len(self.bodies)])
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            self.statuses[0] += 1
            return 0
        length = int(next(x for x in head.split(b"\r\n") if x.lower().startswith(b"content-length")).split(b":")[1])
        await reader.readexactly(length)
        status = int(head.split(b" ", 2)[1])
        self.statuses[status] += 1
        self.seconds.append(time.perf_counter() - start)
        self.free.append((reader, writer))
        return status

    async def connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """One that is open; what the service closed since (it keeps no idle one for ever) is left."""
        while self.free:
            reader, writer = self.free.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self.port)

    def close(self) -> None:
        for _, writer in self.free:
            writer.close()


async def flooded(client: Client, connections: int, seconds: float) -> None:
    """So many at a time, each asking anew as soon as it is answered; who is refused waits a little."""
    end = time.perf_counter() + seconds

    async def one() -> None:
        while time.perf_counter() < end:
            if await client.ask() == 429:
                await asyncio.sleep(0.05)

    await asyncio.gather(*(one() for _ in range(connections)))
    client.close()


def looped(port: int, bodies: list[bytes], callers: int, seconds: float, rate: float | None = None) -> Client:
    """So many callers, each in a thread of its own: sleeping there is exact to a tenth of a millisecond.

    `rate`: requests a second among them, with pauses; None: each asks again at once.
    """
    found, all_there = Client(port, bodies), threading.Barrier(callers)

    def one(number: int) -> None:
        rng, asked = np.random.default_rng(number), 100 * number
        each = callers / rate if rate else 0.0
        with socket.create_connection(("127.0.0.1", port)) as there:
            there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            all_there.wait()
            begin = time.perf_counter()
            due = begin + rng.uniform(0, each)
            while (start := time.perf_counter()) < begin + seconds:
                if due > start:
                    time.sleep(due - start)
                    start = time.perf_counter()
                elif rate:
                    start = due
                asked += 1
                there.sendall(bodies[asked % len(bodies)])
                status = answered(there)
                found.seconds.append(time.perf_counter() - start)
                found.statuses[status] += 1
                due += rng.uniform(0.5, 1.5) * each

    with ThreadPoolExecutor(callers) as threads:
        list(threads.map(one, range(callers)))
    found.asked = found.statuses.total()
    return found


def answered(there: socket.socket) -> int:
    """The status of one response, read to its end."""
    said = b""
    while (end := said.find(b"\r\n\r\n")) < 0:
        said += there.recv(65536)
    head = said[:end].lower()
    length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
    while len(said) < end + 4 + length:
        said += there.recv(65536)
    return int(head.split(b" ", 2)[1])


async def steady(client: Client, rate: float, seconds: float, connections: int) -> None:
    """Requests at random moments, `rate` of them a second, over so many connections."""
    rng, due, tasks = np.random.default_rng(0), time.perf_counter(), set()
    end, room = due + seconds, asyncio.Semaphore(connections)

    async def one(due: float) -> None:
        async with room:
            await client.ask(due)

    while (due := due + rng.exponential(1 / rate)) < end:
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    client.close()


def within(port: int, seconds: float) -> tuple[float, float]:
    """Responses so far, and those within so many seconds, as the service counts them (a bound of its histogram)."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as found:
        lines = dict(line.rsplit(" ", 1) for line in found.read().decode().splitlines() if not line.startswith("#"))
    name = "shopkeeper_response_seconds"
    return float(lines[f"{name}_count"]), float(lines[f'{name}_bucket{{le="{seconds}"}}'])


def alone(bundle: Bundle, asked: list[dict[str, Any]]) -> np.ndarray:
    """Seconds that the bundle itself takes for a request, by the clock."""
    found = []
    for one in asked * 5:
        start = time.perf_counter()
        bundle.recommend([one["history"]], one["k"])
        found.append(time.perf_counter() - start)
    return np.array(found[len(asked) :])


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--seconds", type=float, default=300, help="at 80 %% of the limit")
    words.add_argument("--items", type=int, default=50_000)
    words.add_argument("--callers", type=int, default=CALLERS)
    words.add_argument("--real-time", action="store_true", help="go before everything else on the machine")
    words.add_argument("--note", help="what a reader of the result must know, e.g. other work on the machine")
    told = words.parse_args()
    cores = sorted(os.sched_getaffinity(0))

    def first() -> None:
        if told.real_time:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(10))

    rng = np.random.default_rng(2)
    lengths = rng.integers(1, LENGTH + 1, 200).tolist()
    asked: list[dict[str, Any]] = [{"history": h, "k": 10} for h in histories(rng, told.items, lengths)]
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
    with tempfile.TemporaryDirectory() as place:
        folder = made(told.items, Path(place))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [
            sys.executable,
            "-m",
            "shopkeeper",
            "serve",
            str(folder),
            "--port",
            str(port),
        ]

        def alone_on_its_core() -> None:
            os.sched_setaffinity(0, {cores[0]})
            first()

        service = subprocess.Popen(command, stderr=subprocess.DEVNULL, preexec_fn=alone_on_its_core)
        os.sched_setaffinity(0, {cores[-1]})
        first()
        gc.freeze()
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready").close()
                    break
                except OSError:
                    time.sleep(0.1)
            bundle = Bundle.load(folder)
            looped(port, bodies, told.callers, 3)
            beside = {}
            for callers in BESIDE:
                limit = looped(port, bodies, callers, SHORT).asked / SHORT
                beside[f"{callers} callers"] = limit, looped(port, bodies, callers, SHORT, 0.8 * limit)
            limit = looped(port, bodies, told.callers, SHORT).asked / SHORT
            before, held, some = within(port, SOON), Client(port, bodies), []
            for _ in range(STRETCHES):
                some.append(alone(bundle, asked))
                part = looped(port, bodies, told.callers, told.seconds / STRETCHES, 0.8 * limit)
                held.seconds += part.seconds
                held.statuses += part.statuses
                held.asked += part.asked
            own = np.concatenate(some)
            after, paced = within(port, SOON), Client(port, bodies)
            asyncio.run(steady(paced, 0.8 * limit, SHORT, POISSON))
            beside["nobody held back"] = limit, paced
            above = Client(port, bodies)
            asyncio.run(flooded(above, ABOVE, 15))
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(60)
    dataset = f"{told.items:,} items, width {WIDTH}, up to {LENGTH} events"
    name = f"service at 80 %, {told.callers} callers"
    rows = [row(f"service, {told.callers} callers", dataset, "answers a second at most", "1/s", [limit])]
    for share in (50, 99):
        rows.append(row("bundle", dataset, f"a request, p{share}", "ms", [np.percentile(own, share) * 1e3]))
        rows.append(row(name, dataset, f"a request, p{share}", "ms", [np.percentile(held.seconds, share) * 1e3]))
    rows.append(row(name, dataset, "requests", "1", [held.asked]))
    rows.append(row(name, dataset, f"of its responses within {SOON * 1e3:g} ms by the service's own clock", "1",
                    [(after[1] - before[1]) / (after[0] - before[0])]))  # fmt: skip
    for who, (most, found) in beside.items():
        rows.append(row(f"service at 80 %, {who}", dataset, "answers a second at most", "1/s", [most]))
        rows += [row(f"service at 80 %, {who}", dataset, f"a request, p{share}", "ms",
                     [np.percentile(found.seconds, share) * 1e3]) for share in (50, 99)]  # fmt: skip
    for who, found in ((name, held), ("service above its limit", above)):
        rows += [row(who, dataset, f"responses with {status}" if status else "connections that ended unanswered", "1",
                     [n]) for status, n in sorted(found.statuses.items())]  # fmt: skip
    bad = sum(n for status, n in held.statuses.items() if status != 200)
    ratio = float(np.percentile(held.seconds, 99) / np.percentile(own, 99))
    claims = [
        at_least("handover", "seconds at 80 % of the service's limit", told.seconds, 300),
        at_most("handover", "responses other than 200 in them", bad, 0),
        at_most("handover", f"its p99 there, of {told.callers} callers in a loop, times the bundle's", ratio, 5),
        at_least("handover", f"429 above its limit, from {ABOVE} connections", above.statuses[429], 1),
        at_most("handover", "responses above its limit that are neither 200 nor 429",
                sum(n for status, n in above.statuses.items() if status not in (200, 429)), 0),
    ]  # fmt: skip
    for one in rows:
        print(f"{one['system']:<34} {one['figure']:<34} {one['median']:.3f} {one['unit']}")
    write_result("service_load", rows, claims, note=told.note)


if __name__ == "__main__":
    main()
