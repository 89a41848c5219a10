"""The bundle of the day when the issue was written, made and asked by the code of that day: `THEN` of `_bundles.py`.

    serving_then.py make FOLDER SHAPE     writes the bundle
    serving_then.py ask FOLDER SHAPE      loads it, and prints what that took; then on each line of standard input
                                          `one N` or `batch N`: milliseconds of the processor that each of N takes

SHAPE is JSON: items, width, length. It runs in a process of its own, in which `shopkeeper` is the commit's source, and
in whose path lies its `tests/tiny.py`. The model is that of `_bundles.made`, the requests are `serving.requests`'.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

TOGETHER = 256  # of a batch


def questions(shape: dict[str, int]) -> tuple[list[list[str]], list[list[str]]]:
    """One request, full; and a batch of mixed lengths."""
    rng, items, length = np.random.default_rng(1), shape["items"], shape["length"]
    lengths = np.exp(rng.uniform(0, np.log(length), TOGETHER)).astype(int).clip(1, length).tolist()
    single, *mixed = ([f"i{i}" for i in rng.integers(1, items + 1, n)] for n in [length, *lengths])
    return [single], mixed


def make(folder: Path, shape: dict[str, int]) -> None:
    from shopkeeper.export import export_bundle
    from shopkeeper.recommenders.sasrec import SASRec

    from shopkeeper.recommenders.base import Fit
    from tiny import tiny_prepared

    rng, items = np.random.default_rng(0), shape["items"]
    histories = [rng.integers(1, items + 1, 30).tolist() for _ in range(40)]
    prepared, split = tiny_prepared(folder.parent / "data", histories, n_items=items, catalogue=range(1, items + 1))
    model = SASRec(width=shape["width"], blocks=2, max_length=shape["length"], epochs=1)
    model.fit(prepared, split, Fit(progress=False))
    model.known_V[1:] = True
    export_bundle(model, prepared, split, {"model": "sasrec"}, folder, golden=8)


def ask(folder: Path, shape: dict[str, int]) -> None:
    import onnxruntime  # noqa: F401 (as of ours, what is loaded is the bundle alone)
    import pyarrow.parquet  # noqa: F401

    from shopkeeper.serving import Bundle

    start = time.process_time()
    bundle: Any = Bundle.load(folder)
    print(json.dumps({"load_s": time.process_time() - start}), flush=True)
    single, mixed = questions(shape)
    for _ in range(3):
        bundle.recommend(single, filter_seen=False)
    for line in sys.stdin:
        what, count = line.split()
        used = []
        for _ in range(int(count)):
            begin = time.process_time_ns()
            bundle.recommend(single if what == "one" else mixed, filter_seen=False)
            used.append((time.process_time_ns() - begin) / 1e6)
        print(json.dumps(used), flush=True)


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    sys.path = [x for x in sys.path if Path(x or ".").resolve() != here]
    warnings.filterwarnings("ignore")
    {"make": make, "ask": ask}[sys.argv[1]](Path(sys.argv[2]), json.loads(sys.argv[3]))
