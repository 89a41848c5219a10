"""Callers of a service on loopback: in a loop, at a pace, at random moments, or far too many."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Client:
    """Connections that are kept open, and what came back over them."""

    port: int
    bodies: list[bytes]
    free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)  # from when a request was due
    sent: list[float] = field(default_factory=list)  # from when it was sent
    late: list[float] = field(default_factory=list)  # sent after it was due, where its caller waited for no answer
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
                free = due > start
                if free:
                    time.sleep(due - start)
                start = time.perf_counter()
                asked += 1
                there.sendall(bodies[asked % len(bodies)])
                status = answered(there)
                end = time.perf_counter()
                found.statuses[status] += 1
                found.sent.append(end - start)
                found.seconds.append(end - (due if rate else start))
                if free:
                    found.late.append(start - due)
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
