"""Requests that wait while one call of the model is at work are answered together in the next.

Nothing waits for company: a single request is answered at once, and under load batches form by themselves. The model
puts requests of about one length together (`bundles.answer.items`). Where an answer takes next to no time, so many are
answered between two events of the loop as `NO_TIME` has room for: a thread that hands its answers back waits until the
loop lets go of the interpreter, five milliseconds where many ask. Slower models answer from a thread.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

Answers = Callable[[Sequence[Any]], list[dict[str, Any]]]
NO_TIME = 0.005  # seconds that health, refusals and whoever asks next may wait for answers
# Turns of the loop between two calls of the model, also where requests wait all the time. In the first one answers are
# sent, which would wait for the next call to end without it; what has come meanwhile is read and parsed in those after
# it (one more in asyncio's own loop than in uvloop's), so that it belongs to the next call.
ROUNDS = 4


class FullError(Exception):
    """More requests than may wait."""


class Batches:
    """A queue before one thread that answers; made in the loop that asks it."""

    def __init__(self, answer: Answers, waiting: int, together: int):
        self.answer, self.most, self.together = answer, waiting, together
        self.taken = 0  # requests that are not answered yet
        self.asking = 0  # calls of `ask` that have not returned
        self.size = 0.0  # requests that took `NO_TIME` together lately; below 1: one takes longer, or nobody knows yet
        self._queue: deque[tuple[Any, asyncio.Future[dict[str, Any]]]] = deque()
        self._some = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "answers")
        self._task = asyncio.get_running_loop().create_task(self._work())
        self.sizes: Callable[[int], None] = lambda size: None  # told of each batch

    async def ask(self, said: Sequence[Any]) -> list[dict[str, Any]]:
        """An answer to each request, in order; a `FullError` where they would be too many."""
        if self.taken + len(said) > self.most:
            raise FullError
        self.taken += len(said)
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in said]
        self._queue.extend(zip(said, futures, strict=True))
        self._some.set()
        self.asking += 1
        try:
            return [await futures[0]] if len(futures) == 1 else list(await asyncio.gather(*futures))
        finally:
            self.asking -= 1

    async def close(self, seconds: float) -> bool:
        """Answer what has been taken; whether that was done in time."""
        end = asyncio.get_running_loop().time() + seconds
        while (self.taken or self.asking) and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.01)
        self._task.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)
        return not self.taken

    async def _answered(self, said: Sequence[Any]) -> list[dict[str, Any]]:
        """What the model says; slower ones from a thread, so that the loop goes on."""
        if self.size < 1:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._timed, said)
        return self._timed(said)

    def _timed(self, said: Sequence[Any]) -> list[dict[str, Any]]:
        start = time.thread_time()  # of the processor: what others do on the machine says nothing about the model
        found = self.answer(said)
        took = max(time.thread_time() - start, 1e-6)
        fit = len(said) * NO_TIME / took
        if took > NO_TIME:
            self.size = min(self.size, fit)
        elif len(said) >= int(self.size):  # all that would fit
            self.size = fit
        return found

    async def _work(self) -> None:
        while True:
            await self._some.wait()
            most = self.together if self.size < 1 else min(self.together, int(self.size))
            batch = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
            if not self._queue:
                self._some.clear()
            batch = [one for one in batch if not self._gone(one[1])]
            if not batch:
                continue
            self.sizes(len(batch))
            try:
                found = await self._answered([said for said, _ in batch])
            except Exception as e:  # of the model: every one who asked is told, and the next ones are answered
                self.taken -= len(batch)
                for _, future in batch:
                    if not future.done():
                        future.set_exception(e)
                continue
            self.taken -= len(batch)
            for (_, future), answer in zip(batch, found, strict=True):
                if not future.done():
                    future.set_result(answer)
            for _ in range(ROUNDS):
                await asyncio.sleep(0)

    def _gone(self, future: asyncio.Future[Any]) -> bool:
        """Whether nobody waits for this one any more."""
        if future.done():
            self.taken -= 1
        return future.done()
