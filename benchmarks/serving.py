"""How long a bundle takes: raw ids to raw ids against its bare graph, batches of mixed lengths against sorted ones.

    python benchmarks/serving.py [--items 50000] [--rounds 300]

One pinned core, processor time of this process, what is compared by turns in one run. The model is a SASRec of width 64
that has learned next to nothing: its arithmetic is that of a trained one.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from _results import ROOT, at_most, row, write_result

sys.path.insert(0, str(ROOT / "tests"))

from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.answer.graph import padded
from shopkeeper.bundles.write import export_bundle
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.networks.sasrec import SASRec
from tiny import tiny_prepared

LENGTH = 50


def made(items: int, place: Path) -> Path:
    """A bundle whose histories hold up to 50 events of `items` items."""
    rng = np.random.default_rng(0)
    histories = [rng.integers(1, items + 1, 30).tolist() for _ in range(40)]
    prepared, split = tiny_prepared(place / "data", histories, n_items=items)
    model = SASRec(width=64, blocks=2, max_length=LENGTH, epochs=1)
    model.fit(prepared, split, Fit(progress=False))
    model.known_V[1:] = True  # also the many that no history had: else they would not be read
    return export_bundle(model, prepared, split, {"model": "sasrec"}, place / "bundle", golden=8)


def spent(tasks: dict[str, Callable[[], Any]], rounds: int) -> dict[str, np.ndarray]:
    """Processor milliseconds of each task in each round, by turns; the first tenth of the rounds is not counted."""
    found: dict[str, list[int]] = {name: [] for name in tasks}
    for n in range(rounds):
        names = list(tasks)
        for name in names[n % len(names) :] + names[: n % len(names)]:
            start = time.process_time_ns()
            tasks[name]()
            found[name].append(time.process_time_ns() - start)
    return {name: np.array(values[rounds // 10 :]) / 1e6 for name, values in found.items()}


def histories(rng: np.random.Generator, items: int, lengths: Sequence[int]) -> list[list[str]]:
    return [[f"i{i}" for i in rng.integers(1, items + 1, n)] for n in lengths]


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--items", type=int, default=50_000)
    words.add_argument("--rounds", type=int, default=300)
    told = words.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rng, items = np.random.default_rng(1), told.items
    with tempfile.TemporaryDirectory() as place:
        start = time.process_time()
        folder = made(items, Path(place))
        print(f"made in {time.process_time() - start:.0f} s of processor time", file=sys.stderr)
        bundle = Bundle.load(folder)
        model: Any = bundle.model
        single = histories(rng, items, [LENGTH])
        number = bundle.vocabulary.internal
        feed = {"history": padded([[number[i] for i in single[0]]]), "exclude": np.zeros((1, 1), np.int64),
                "event_type": np.full((1, LENGTH), 5)}  # fmt: skip
        feed = {name: feed[name] for name in model.inputs}
        alone = spent({"bare graph": lambda: model.session.run(None, feed),
                       "raw to raw": lambda: bundle.recommend(single, filter_seen=False)}, told.rounds)  # fmt: skip
        mixed = histories(rng, items, np.exp(rng.uniform(0, np.log(LENGTH), 256)).astype(int).clip(1, LENGTH).tolist())
        ordered = sorted(mixed, key=len)
        together = spent({"mixed": lambda: bundle.recommend(mixed, filter_seen=False),
                          "sorted": lambda: [bundle.recommend(ordered[n : n + 64], filter_seen=False)
                                             for n in range(0, 256, 64)],
                          "one by one": lambda: [bundle.recommend([h], filter_seen=False) for h in mixed]},
                         max(10, told.rounds // 15))  # fmt: skip
        loaded = spent({"load": lambda: Bundle.load(folder)}, 5)
    dataset = f"{items:,} items, width 64, {LENGTH} events"
    rows, values = [], {}
    for name, times in alone.items():
        for figure, share in (("p50", 50), ("p99", 99)):
            values[name, figure] = float(np.percentile(times, share))
            rows.append(row(name, dataset, f"a request, {figure}", "ms", [values[name, figure]]))
    for name, times in together.items():
        values[name, "batch"] = float(np.median(times)) / 256
        rows.append(row(f"256 histories {name}", dataset, "per request", "ms", (times / 256).tolist()))
    rows.append(row("load", dataset, "with every hash checked", "ms", loaded["load"].tolist()))
    ratio = (
        values["raw to raw", "p50"] / values["bare graph", "p50"],
        values["raw to raw", "p99"] / values["bare graph", "p99"],
    )
    spread = values["mixed", "batch"] / values["sorted", "batch"]
    claims = [
        at_most("handover", "raw ids to raw ids, times the bare graph, p50", ratio[0], 1.15),
        at_most("handover", "raw ids to raw ids, times the bare graph, p99", ratio[1], 1.15),
        at_most("handover", "a batch of mixed lengths, times sorted ones", spread, 1.2),
    ]
    for one in rows:
        print(f"{one['system']:<24} {one['figure']:<28} {one['median']:.3f} {one['unit']}")
    for claim in claims:
        print(f"{claim['what']}: {claim['value']:.2f} ({claim['required']} required)")
    write_result("serving", rows, claims)


if __name__ == "__main__":
    main()
