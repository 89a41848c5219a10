"""Work that falls into independent pieces, a core for each: for operations too short to be shared out themselves.

Between two short operations that torch shares out, its threads wait for each other; with passive waiting (the
package's default, because spinning costs tenfold beside other work) that takes as long as the operations. Pieces that
each run on one thread need not wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Barrier
from types import TracebackType

import torch


def n_cores(n_pieces: int, device: torch.device) -> int:
    """How many pieces are worked on at once: as many as torch has threads on a CPU, one elsewhere."""
    return max(min(torch.get_num_threads(), n_pieces), 1) if device.type == "cpu" else 1


class Cores:
    """`n` threads, each with its part of torch's threads, made when first used; with `n` = 1 there are none.

    A thread begins with gradients on and no inference mode, whatever its caller has set: a task sets its own.
    """

    def __init__(self, n: int):
        self.n = n
        self._pool: ThreadPoolExecutor | None = None

    def run(self, task: Callable[[int, int], None], pieces: Iterable[int]) -> None:
        """`task(core, piece)` on every piece, in their order, by whichever core (0 to n - 1) is free.

        Returns when all have ended. After an error no more pieces are taken; of several errors the one of the earliest
        piece is raised, which is the same one each time.
        """
        waiting = deque(enumerate(pieces))
        failed: list[tuple[int, BaseException]] = []

        def work(core: int) -> None:
            while not failed:
                try:
                    place, piece = waiting.popleft()
                except IndexError:
                    return
                try:
                    task(core, piece)
                except BaseException as e:
                    failed.append((place, e))

        if self.n == 1 or len(waiting) < 2:
            work(0)
        else:
            self._pool = self._pool or _threads(self.n)
            wait([self._pool.submit(work, core) for core in range(min(self.n, len(waiting)))])
        if failed:
            raise min(failed, key=lambda x: x[0])[1]

    def close(self) -> None:
        """End the threads; a later `run` makes new ones."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def __enter__(self) -> Cores:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _threads(n: int) -> ThreadPoolExecutor:
    """All started at once: `torch.set_num_threads` counts for the thread that calls it and for those yet to come."""
    before, started = torch.get_num_threads(), Barrier(n)

    def begin() -> None:
        torch.get_num_threads()  # the first call in a thread takes over the number that was set last anywhere
        torch.set_num_threads(max(before // n, 1))

    pool = ThreadPoolExecutor(n, "core", begin)
    wait([pool.submit(started.wait) for _ in range(n)])
    torch.set_num_threads(before)
    return pool
