"""How fast the simulated shop is written, and that its memory does not grow with the number of events.

    python benchmarks/simulate.py                        # 1 thousand, 100 thousand, 1 and 10 million events
    python benchmarks/simulate.py --large                # 100 million as well: gigabytes of disk, many minutes
    python benchmarks/simulate.py --events 1e6,1e7 --preset seasonal

`simulate: {events: N}` of a dataset config is the one setting. The shop is made in chunks of 50,000 customers and
streamed to disk, so memory may grow up to one full chunk and not beyond: the claim compares the largest shop with a
shop of exactly one chunk. Each shop is made in a process of its own, whose peak memory counts imports too.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from _results import at_most, not_had, row, write_result

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "data" / "bench" / "simulated"
EVENTS, LARGE = (1_000, 100_000, 1_000_000, 10_000_000), 100_000_000
GROWTH = 1.25  # chunks differ by a few per cent, and freed memory lies in pieces
FIGURES = {  # key -> figure, unit
    "seconds": ("time", "s"),
    "peak_gib": ("peak memory", "GiB"),
    "bytes": ("files", "bytes"),
    "events_per_second": ("speed", "events/s"),
    "share": ("events written over events asked for", ""),
}


def one(preset: str, events: int) -> dict[str, float]:
    """Write one shop in this process."""
    from shopkeeper.simulated.settings import Simulation
    from shopkeeper.simulated.shop import simulate

    shutil.rmtree(FOLDER, ignore_errors=True)
    start = time.perf_counter()
    truth = simulate(Simulation(preset, seed=1, events=events), FOLDER)
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in FOLDER.rglob("*.parquet"))
    shutil.rmtree(FOLDER)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": seconds, "peak_gib": peak, "bytes": size, "events_per_second": truth["events"] / seconds,
            "share": truth["events"] / events}  # fmt: skip


def main(preset: str, sizes: list[int], repetitions: int) -> None:
    from shopkeeper.simulated.settings import EVENTS_PER_CUSTOMER
    from shopkeeper.simulated.shop import CHUNK

    chunk = round(CHUNK * EVENTS_PER_CUSTOMER[preset])
    rows, peaks = [], {}
    for events in sorted({*sizes, chunk}):
        runs = []
        for _ in range(1 if events >= LARGE else repetitions):
            command = [sys.executable, __file__, "--one", str(events), "--preset", preset]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{events:,} events failed: {done.stderr[-2000:]}")
            runs.append(json.loads(done.stdout.strip().splitlines()[-1]))
            print(f"{events:>13,} events: " + ", ".join(f"{k} {v:,.2f}" for k, v in runs[-1].items()), flush=True)
        name = f"{preset}, {events:,} events" + (" (one chunk)" if events == chunk else "")
        rows += [row("shopkeeper", name, *FIGURES[key], [run[key] for run in runs]) for key in FIGURES]
        peaks[events] = max(run["peak_gib"] for run in runs)
    claims = []
    for events in (max(EVENTS), LARGE):
        what = f"simulated shop of {events:,} events, peak memory over that of one chunk ({chunk:,} events)"
        if events in peaks:
            claims.append(at_most("events", what, peaks[events] / peaks[chunk], GROWTH))
        else:
            claims.append(not_had("events", what, GROWTH, "not run"))
    write_result("simulate", rows, claims)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", default=",".join(map(str, EVENTS)), help="how many, with commas between")
    parser.add_argument("--large", action="store_true", help=f"{LARGE:,} events too")
    parser.add_argument("--preset", default="demo_shop")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    A = parser.parse_args()
    if A.one:
        print(json.dumps(one(A.preset, A.one)))
    else:
        main(A.preset, [int(float(n)) for n in A.events.split(",")] + [LARGE] * A.large, A.repetitions)
