"""Work that falls into independent pieces, a core for each: for operations too short to be shared out themselves.

Between two short operations that torch shares out, its threads wait for each other; with passive waiting (the
package's default, because spinning costs tenfold beside other work) that takes as long as the operations. Pieces that
each run on one thread need not wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch


def n_cores(n_pieces: int, device: torch.device) -> int:
    """How many pieces are worked on at once: as many as torch has threads on a CPU, one elsewhere."""
    return min(torch.get_num_threads(), n_pieces) if device.type == "cpu" else 1


def on_each_core(task: Callable[[int], None], pieces: Sequence[int]) -> None:
    """Run a task on every piece in inference mode; of several errors the first piece's is raised.

    `torch.set_num_threads` counts for the thread that calls it and for those yet to come, hence the way back.
    """

    def run(piece: int) -> None:
        with torch.inference_mode():  # a mode of the thread
            task(piece)

    before = torch.get_num_threads()
    try:
        n = n_cores(len(pieces), torch.device("cpu"))
        with ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for _ in pool.map(run, pieces):
                pass
    finally:
        torch.set_num_threads(before)
