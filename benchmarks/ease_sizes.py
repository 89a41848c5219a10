"""What EASE costs on catalogues of 6,000, 12,000 and 18,000 items: time and peak memory of a fit, on one thread.

    python benchmarks/ease_sizes.py                      # 3 minutes of one core that is idle, 1.7 GiB of memory
    python benchmarks/ease_sizes.py --items 1000 2000    # smaller, to try it; writes no result

Three customers for each item, 22 different items each at random: what is counted and inverted does not depend on whose
they are. Each size is fitted in a process of its own, the largest once. That the inverse is right at that size, too, is
seen without another inverse: (X^T X + lambda I) times a column of the weights, with -1 on the diagonal, is zero but in
one place; the largest other entry is given, over that one.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from _results import at_most, row, write_result
from shopkeeper.recommenders.item_pairs.counted import CELLS

SIZES, REPETITIONS = (6_000, 12_000, 18_000), 2  # items
CUSTOMERS, EACH, COLUMNS = 3, 22, 16  # for each item; items of a customer; columns that are checked
GIB = 2**30
FIGURES = {  # key -> figure, unit
    "seconds": ("fit", "s"),
    "processor": ("processor time of the fit", "s"),
    "peak": ("peak memory", "GiB"),
    "before": ("of this before the fit", "GiB"),
    "residual": ("largest entry that should be zero", ""),
}


def prepare(items: int, place: Path) -> None:
    """A prepared dataset of so many items, with its split: the last two of each customer's items are targets."""
    import pyarrow as pa
    import pyarrow.csv

    from shopkeeper.arrange.prepare import prepare_dataset
    from shopkeeper.data.prepared import Prepared
    from shopkeeper.splits.write import write_split

    rng, n = np.random.default_rng(0), CUSTOMERS * items
    step = rng.integers(1, items // EACH, (n, EACH)).cumsum(1)  # so that a customer's items differ
    item = (rng.integers(0, items, (n, 1)) + step) % items
    table = pa.table({"user_id": np.repeat(np.arange(n), EACH), "item_id": item.ravel()})
    (place / "raw").mkdir()
    pyarrow.csv.write_csv(table, place / "raw" / "log.csv")
    config = {
        "name": "catalogue", "raw": {"folder": "", "files": ["log.csv"]}, "reader": {"format": "csv"},
        "columns": {"user_id": "user_id", "item_id": "item_id"}, "event_type": "purchase",
        "target_events": ["purchase"], "filter_seen": True, "max_rejected_share": 0,
    }  # fmt: skip
    prepared = Prepared.open(prepare_dataset(config, place / "raw", place / "prepared", progress=False))
    write_split(prepared, {"name": "leave_one_out", "protocol": "published", "target_events": ["purchase"]})


def fit(place: Path) -> dict[str, float]:
    """Fit in this process."""
    from scipy import sparse

    from shopkeeper.data.prepared import Prepared
    from shopkeeper.data.split import Split
    from shopkeeper.models.fit import Fit
    from shopkeeper.recommenders.item_pairs.ease import EASE

    prepared = Prepared.open(place / "prepared")
    split = Split.named(prepared, next((place / "prepared" / "splits").iterdir()).name)
    import torch  # noqa: F401  what a fit imports is no part of its cost

    before, used, start = resident(), time.process_time(), time.perf_counter()
    model = EASE()
    model.fit(prepared, split, Fit(progress=False))
    took = {"seconds": time.perf_counter() - start, "processor": time.process_time() - used, "before": before}
    took["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
    offsets, rows = split.training_rows()
    column = np.searchsorted(model.items_A, prepared.events.item[rows])
    customer = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    x_UA = sparse.csr_array((np.ones(len(rows)), (customer, column)), (len(offsets) - 1, len(model.items_A)))
    some = np.random.default_rng(1).choice(len(model.items_A), COLUMNS, replace=False)
    b_AC = model.weight_AA[:, some].astype(np.float64)
    at = (some, np.arange(COLUMNS))
    b_AC[at] = -1.0
    left_AC = x_UA.T @ (x_UA @ b_AC) + model.settings["l2"] * b_AC
    one_C = np.abs(left_AC[at])
    left_AC[at] = 0.0
    return {**took, "residual": float((np.abs(left_AC) / one_C).max()), "items": len(model.items_A)}


def resident() -> float:
    """Memory that this process holds now, in GiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / GIB


def child(*words: str) -> str:
    """What this file prints when it is called so, on one thread."""
    env = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run([sys.executable, __file__, *words], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def main(sizes: list[int], note: str | None) -> None:
    """Each size as often as there is time for; the files are made before, by another process."""
    rows, largest = [], {}
    for items in sizes:
        with tempfile.TemporaryDirectory() as folder:
            child("--prepare", str(items), "--place", folder)
            runs = []
            for _ in range(1 if items == max(sizes) else REPETITIONS):
                runs.append(json.loads(child("--fit", "--place", folder).splitlines()[-1]))
                print(items, runs[-1], flush=True)
        assert {run["items"] for run in runs} == {items}
        rows += [row("ease", f"{items:,} items", *FIGURES[key], [run[key] for run in runs]) for key in FIGURES]
        largest = {key: max(run[key] for run in runs) for key in FIGURES}
    n = max(sizes)
    claims = [
        at_most("Trust", f"EASE of {n:,} items: what should be zero, over what should not", largest["residual"], 1e-5),
        at_most("Trust", f"EASE of {n:,} items: peak memory above what it says, GiB",
                largest["peak"] - largest["before"], (4 * n**2 + 5 * min(CUSTOMERS * n**2, CELLS)) / GIB + 0.25),
    ]  # fmt: skip
    if tuple(sizes) == SIZES:
        write_result("ease_sizes", rows, claims, note=note)
    else:
        print(*claims, sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--note", help="what a reader of the result must know, e.g. other work on the machine")
    parser.add_argument("--prepare", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--fit", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.prepare:
        prepare(arguments.prepare, arguments.place)
    elif arguments.fit:
        print(json.dumps(fit(arguments.place)))
    else:
        main(arguments.items, arguments.note)
