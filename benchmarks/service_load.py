"""`shopkeeper serve` under load on loopback: its limit, 80 % of it for five minutes, and more than it takes.

    python benchmarks/service_load.py [--seconds 300] [--items 50000]

The service has one core, this client another one. At 80 % requests come at random moments (a Poisson process) over as
many connections as its limit was found with; where all of them are busy a request waits for one, and its time counts
from the moment that it was due. Above the limit far more connections ask than may wait: each of them must be answered,
or told to come again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from _results import at_least, at_most, row, write_result
from serving import LENGTH, WIDTH, histories, made
from shopkeeper.bundles.answer.bundle import Bundle

CONNECTIONS, ABOVE = 32, 800  # the service takes 512 and reads 64 more, as it ships


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
    words.add_argument("--note", help="what a reader of the result must know, e.g. other work on the machine")
    told = words.parse_args()
    cores = sorted(os.sched_getaffinity(0))
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
        service = subprocess.Popen(
            command, stderr=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, {cores[0]})
        )
        os.sched_setaffinity(0, {cores[-1]})
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready").close()
                    break
                except OSError:
                    time.sleep(0.1)
            runs = {name: Client(port, bodies) for name in ("warm", "limit", "steady", "above")}
            own = alone(Bundle.load(folder), asked)
            asyncio.run(flooded(runs["warm"], CONNECTIONS, 3))
            asyncio.run(flooded(runs["limit"], CONNECTIONS, 15))
            limit = runs["limit"].statuses[200] / 15
            asyncio.run(steady(runs["steady"], 0.8 * limit, told.seconds, CONNECTIONS))
            asyncio.run(flooded(runs["above"], ABOVE, 15))
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(60)
    dataset = f"{told.items:,} items, width {WIDTH}, up to {LENGTH} events"
    held, above = runs["steady"], runs["above"]
    rows = [row("service", dataset, "answers a second at most", "1/s", [limit])]
    for share in (50, 99):
        rows.append(row("bundle", dataset, f"a request, p{share}", "ms", [np.percentile(own, share) * 1e3]))
        rows.append(row("service at 80 %", dataset, f"a request, p{share}", "ms",
                        [np.percentile(held.seconds, share) * 1e3]))  # fmt: skip
    rows.append(row("service at 80 %", dataset, "requests", "1", [held.asked]))
    for name, found in (("service at 80 %", held), ("service above its limit", above)):
        rows += [row(name, dataset, f"responses with {status}" if status else "connections that ended unanswered", "1",
                     [n]) for status, n in sorted(found.statuses.items())]  # fmt: skip
    bad = sum(n for status, n in held.statuses.items() if status != 200)
    ratio = float(np.percentile(held.seconds, 99) / np.percentile(own, 99))
    claims = [
        at_least("handover", "seconds at 80 % of the service's limit", told.seconds, 300),
        at_most("handover", "responses other than 200 in them", bad, 0),
        at_most("handover", "its p99 there, times the bundle's", ratio, 5),
        at_least("handover", f"429 above its limit, from {ABOVE} connections", above.statuses[429], 1),
        at_most("handover", "responses above its limit that are neither 200 nor 429",
                sum(n for status, n in above.statuses.items() if status not in (200, 429)), 0),
    ]  # fmt: skip
    for one in rows:
        print(f"{one['system']:<24} {one['figure']:<28} {one['median']:.3f} {one['unit']}")
    write_result("service_load", rows, claims, note=told.note)


if __name__ == "__main__":
    main()
