"""How long a bundle takes: raw ids to raw ids beside its bare graph, batches of mixed lengths beside sorted ones, one
category beside all, a million items exactly, in 8 bits, in two steps and from an index, and other libraries' inference;
beside the bundle of the commit before the issue, which its own code makes and asks (`serving_then.py`).

    python benchmarks/serving.py [--items 50000] [--rounds 300] [--million 1000000] [--only requests --only category]

One pinned core, processor time of this process, what is compared by turns in one run. The model is a SASRec of width 64
that has learned next to nothing: its arithmetic is that of a trained one, and its item vectors lie at random, which is
the hardest case for an index.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from _bundles import LENGTH, THEN, WIDTH, Then, histories, made
from _results import RESULTS, at_least, at_most, not_had, row, write_result
from _training import environment
from serving_then import questions
from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.answer.graph import padded
from shopkeeper.bundles.targets.index import write_index
from shopkeeper.bundles.targets.smaller import write_smaller

NO_COST = dict.fromkeys(("low", "high"), None) | {
    "metric": "ndcg@10", "exact": 0.0, "value": 0.0, "difference": 0.0, "p_value": None, "n": 0, "n_users": 0,
    "method": "", "statement": "not measured: the model has learned nothing",
}  # fmt: skip
FASTER = {  # name -> words, times as fast, environment
    "replay": ("RePlay compiled as it comes, which computes in 16 bits, at its recall or more", 3, "replay-compiled"),
    "replay in 32 bits": ("RePlay compiled in 32 bits, exact lists", 3, "replay-compiled"),
    "rectools": ("RecTools, exact lists", 20, "rectools"),
}


def spent(
    tasks: dict[str, Callable[[], Any]], rounds: int, elsewhere: dict[str, Callable[[], float]] | None = None
) -> dict[str, np.ndarray]:
    """Processor milliseconds of each task in each round, by turns; the first tenth of the rounds is not counted.

    `elsewhere`: tasks of other processes, which say themselves how many.
    """
    elsewhere = elsewhere or {}
    found: dict[str, list[float]] = {name: [] for name in (*tasks, *elsewhere)}
    for n in range(rounds):
        names = list(found)
        for name in names[n % len(names) :] + names[: n % len(names)]:
            if name in elsewhere:
                found[name].append(elsewhere[name]())
                continue
            start = time.process_time_ns()
            tasks[name]()
            found[name].append((time.process_time_ns() - start) / 1e6)
    return {name: np.array(values[rounds // 10 :]) for name, values in found.items()}


def feed_of(bundle: Bundle, history: Sequence[str]) -> dict[str, np.ndarray]:
    model: Any = bundle.model
    number = bundle.vocabulary.internal
    feed = {"history": padded([[number[i] for i in history]]), "exclude": np.zeros((1, 1), np.int64),
            "event_type": np.full((1, len(history)), 5)}  # fmt: skip
    return {name: feed[name] for name in model.inputs}


def requests(told: argparse.Namespace, place: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """One request and batches, at `--items`."""
    items, then = told.items, Then(told.items, place)
    folder = made(items, place)
    bundle = Bundle.load(folder)
    model: Any = bundle.model
    single, mixed = questions({"items": items, "length": LENGTH})
    feed = feed_of(bundle, single[0])
    alone = spent({"bare graph": lambda: model.session.run(None, feed),
                   "raw to raw": lambda: bundle.recommend(single, filter_seen=False)}, told.rounds)  # fmt: skip
    sooner = Bundle.load(write_smaller(folder, place / "two", "two_steps", lambda *_: NO_COST))
    beside = spent({"raw to raw, beside then": lambda: bundle.recommend(single, filter_seen=False),
                    "the same in two steps": lambda: sooner.recommend(single, filter_seen=False)}, told.rounds,
                   {"the bundle of then": lambda: then.take("one")})  # fmt: skip
    ordered = sorted(mixed, key=len)
    together = spent({"mixed": lambda: bundle.recommend(mixed, filter_seen=False),
                      "mixed, in two steps": lambda: sooner.recommend(mixed, filter_seen=False),
                      "sorted": lambda: [bundle.recommend(ordered[n : n + 64], filter_seen=False)
                                         for n in range(0, len(mixed), 64)],
                      "one by one": lambda: [bundle.recommend([h], filter_seen=False) for h in mixed]},
                     max(10, told.rounds // 15), {"mixed, the bundle of then": lambda: then.take("batch")})  # fmt: skip
    then.end()
    loads = spent({"load": lambda: Bundle.load(folder)}, 5)
    dataset = f"{items:,} items, width {WIDTH}, {LENGTH} events"
    rows, values = [], {}
    for name, times in (alone | beside).items():
        for figure, share in (("p50", 50), ("p99", 99)):
            values[name, figure] = float(np.percentile(times, share))
            rows.append(row(name, dataset, f"a request, {figure}", "ms", [values[name, figure]]))
    for name, times in together.items():
        values[name, "batch"] = float(np.median(times)) / len(mixed)
        rows.append(row(f"{len(mixed)} histories {name}", dataset, "per request", "ms", (times / len(mixed)).tolist()))
    rows.append(row("load", dataset, "with every hash checked", "ms", loads["load"].tolist()))
    rows.append(row("load, the bundle of then", dataset, "with every hash checked", "ms",
                    [1e3 * one for one in then.loads]))  # fmt: skip
    spread = values["mixed", "batch"] / values["sorted", "batch"]
    claims = [
        at_most("handover", f"raw ids to raw ids, times the bare graph, {figure}",
                values["raw to raw", figure] / values["bare graph", figure], 1.15)
        for figure in ("p50", "p99")
    ]  # fmt: skip
    claims += [
        at_most("handover", "a batch of mixed lengths, times sorted ones", spread, 1.2),
        at_most("handover", f"raw ids to raw ids at {items:,} items, times the bundle of then ({THEN})",
                min(values["raw to raw, beside then", "p50"], values["the same in two steps", "p50"])
                / values["the bundle of then", "p50"], 0.6),
        at_least("handover", f"requests per second in batches, times the bundle of then ({THEN})",
                 values["mixed, the bundle of then", "batch"]
                 / min(values["mixed", "batch"], values["mixed, in two steps", "batch"]), 2.2),
    ]  # fmt: skip
    return rows, claims


def one_category(told: argparse.Namespace, place: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A placement asked for all items, and for one category of ten."""
    bundle = Bundle.load(made(told.items, place, by_category=True))
    single = histories(np.random.default_rng(1), told.items, [LENGTH])
    asked: dict[str, Any] = {"filter_seen": False, "placement": "category"}
    tasks = {"all": lambda: bundle.recommend(single, **asked),
             "one category": lambda: bundle.recommend(single, category=["c3"], **asked)}  # fmt: skip
    found = spent(tasks, told.rounds)
    dataset = f"{told.items:,} items, width {WIDTH}, {LENGTH} events"
    rows = [row(f"a placement, {name}", dataset, "a request, p50", "ms", [float(np.median(times))])
            for name, times in found.items()]  # fmt: skip
    times = float(np.median(found["one category"]) / np.median(found["all"]))
    return rows, [at_most("handover", "one category alone, times all items", times, 1.1)]


def peers(told: argparse.Namespace, place: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """One request beside RePlay's and RecTools' own inference, each in its environment, by turns on the same core."""
    shape = {"items": told.items, "width": WIDTH, "length": LENGTH, "k": 10}
    dataset = f"{told.items:,} items, width {WIDTH}, {LENGTH} events"
    python = {name: environment(where) for name, (_, _, where) in FASTER.items()}
    there = {name: path for name, path in python.items() if path}
    folder = made(told.items, place)
    ours = {"shopkeeper": folder, "shopkeeper in two steps": write_smaller(folder, place / "two", "two_steps",
                                                                           lambda *_: NO_COST)}  # fmt: skip
    asked = {name: Asked(sys.executable, "shopkeeper", shape, path) for name, path in ours.items()}
    ours["shopkeeper by index"] = by_index = write_index(folder, place / "index", "faiss")
    asked["shopkeeper by index"] = Asked(sys.executable, "shopkeeper by index", shape, by_index)
    asked |= {name: Asked(path, name, shape, folder) for name, path in there.items()}
    times: dict[str, dict[str, list[float]]] = {name: {"processor": [], "clock": []} for name in asked}
    failed = {name: "its environment could not be made" for name in FASTER if name not in there}
    names = [name for name in asked if not (why := asked[name].begun()) or failed.update({name: why})]
    for n in range(max(5, told.rounds // 10)):
        for name in names[n % len(names) :] + names[: n % len(names)]:
            for kind, found in asked[name].some(5).items():
                times[name][kind] += found
    for one in asked.values():
        one.end()
    rows, claims = [], []
    for name in names:
        rows.append(row(f"{name}, one request", dataset, "recall@10 against its exact lists", "1",
                        [asked[name].recall]))  # fmt: skip
        for kind, words in (("processor", ""), ("clock", ", by the clock")):
            for share in (50, 99):
                rows.append(row(f"{name}, one request", dataset, f"a request, p{share}{words}", "ms",
                                [float(np.percentile(times[name][kind], share))]))  # fmt: skip
    for name, (words, required, _) in FASTER.items():
        what = f"a request, times as fast as {words}"
        if name in failed:
            claims.append(not_had("handover", what, required, failed[name]))
        else:
            own = min(np.median(times[one]["processor"]) for one in ours if asked[one].recall >= asked[name].recall)
            ratio = float(np.median(times[name]["processor"]) / own)
            claims.append(at_least("handover", what, ratio, required))
    return rows, claims


class Asked:
    """A system that answers in a process of its own (`serving_peers.py`)."""

    def __init__(self, python: str | Path, name: str, shape: dict[str, int], bundle: Path):
        command = [str(python), str(Path(__file__).with_name("serving_peers.py")), name, json.dumps(shape), str(bundle)]
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in `end`)
        self.process = subprocess.Popen(command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors)  # fmt: skip

    def begun(self) -> str:
        """Why it did not begin; empty: it did."""
        assert self.process.stdout is not None
        if line := self.process.stdout.readline():
            begun = json.loads(line)
            self.version, self.recall = begun["version"], float(begun["recall"])
            return ""
        self.errors.seek(0)
        return (self.errors.read().strip().splitlines() or ["no message"])[-1][:300]

    def some(self, count: int) -> dict[str, list[float]]:
        """Milliseconds of so many further requests."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(count, file=self.process.stdin, flush=True)
        found: dict[str, list[float]] = json.loads(self.process.stdout.readline())
        return found

    def end(self) -> None:
        self.process.communicate()
        self.errors.close()


def memory(folder: str, approximate: bool) -> None:
    """Prints what loading a bundle takes of a process that has done nothing else."""
    before, start = resident(), time.process_time()
    bundle = Bundle.load(folder, approximate=approximate)
    used = time.process_time() - start
    bundle.recommend([["i1", "i2"]])
    print(json.dumps({"load_s": used, "mib": resident() - before,
                      "peak_mib": resident("VmHWM") - before}))  # fmt: skip


def resident(which: str = "VmRSS") -> float:
    """MiB of this process, now or at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{which}:")) / 1024


def loaded(folder: Path, approximate: bool = False) -> dict[str, float]:
    command = [sys.executable, __file__, "--load", str(folder), *(["--approximate"] if approximate else [])]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def a_million(told: argparse.Namespace, place: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """One request at a million items, and what loading takes."""
    items, then = told.million, Then(told.million, place)
    folder = made(items, place)
    folders = {"exact": folder, "faiss": write_index(folder, place / "faiss", "faiss")}
    folders |= {kind: write_smaller(folder, place / kind, kind, lambda *_: NO_COST) for kind in ("int8", "two_steps")}
    bundles = {name: Bundle.load(path, approximate=name == "faiss") for name, path in folders.items()}
    rng = np.random.default_rng(1)
    single, several = histories(rng, items, [LENGTH]), histories(rng, items, rng.integers(1, LENGTH + 1, 100).tolist())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    packed = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    feed = feed_of(bundles["exact"], single[0])
    tasks: dict[str, Callable[[], Any]] = {"bare graph, prepacked": lambda: packed.run(None, feed)}
    tasks |= {name: partial(one.recommend, single, filter_seen=False) for name, one in bundles.items()}
    taken = spent(tasks, max(10, told.rounds // 5), {"the bundle of then": lambda: then.take("one")})
    then.end()
    times = {name: float(np.median(values)) for name, values in taken.items()}
    exact = [{i for i, _ in answer} for answer in bundles["exact"].recommend(several, filter_seen=False)]
    dataset = f"{items:,} items, width {WIDTH}, {LENGTH} events"
    rows = [row(name, dataset, "a request, p50", "ms", [value]) for name, value in times.items()]
    recall = {}
    for name in ("int8", "two_steps", "faiss"):
        lists = [{i for i, _ in answer} for answer in bundles[name].recommend(several, filter_seen=False)]
        recall[name] = float(np.mean([len(a & b) / 10 for a, b in zip(lists, exact, strict=True)]))
        rows.append(row(name, dataset, "recall@10 against exact, 100 histories at random", "1", [recall[name]]))
    weights = items * WIDTH * 4 / 2**20
    loads = {name: [loaded(path, name == "faiss") for _ in range(3)] for name, path in folders.items()}
    for name, each in loads.items():
        for figure, unit, key in (("loading, processor time", "s", "load_s"),
                                  ("memory of a loaded bundle", "MiB", "mib"),
                                  ("memory while it loads, at most", "MiB", "peak_mib")):  # fmt: skip
            rows.append(row(name, dataset, figure, unit, [one[key] for one in each]))
    rows.append(row("the bundle of then", dataset, "loading, processor time", "s", then.loads))
    before, what = times["the bundle of then"], f"{items:,} items: "
    fewer = [times[name] for name, found in recall.items() if found >= 0.99 and name != "two_steps"]
    ours = float(np.median([one["load_s"] for one in loads["exact"]]))
    claims = [
        at_most("handover", what + f"an exact request, times the bundle of then ({THEN})",
                min(times["exact"], times["two_steps"]) / before, 0.6),
        at_least("handover", what + "recall@10 of two steps, which are exact", recall["two_steps"], 1),
        at_most("handover", what + "with int8 or an index of recall@10 at least .99, times the bundle of then",
                min(fewer, default=before) / before, 0.15),
        at_most("handover", what + "memory of an exact bundle, times its weights",
                float(np.median([one["mib"] for one in loads["exact"]])) / weights, 1.6),
        at_most("handover", what + "loading, times the bundle of then", ours / float(np.median(then.loads)), 0.5),
    ]  # fmt: skip
    return rows, claims


def kept(anew: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Of the result file what other parts said, each row with where it comes from."""
    path = RESULTS / "serving.json"
    if not path.is_file():
        return [], []
    before = json.loads(path.read_text(encoding="utf-8"))
    origin = {key: before[key] for key in ("command", "commit", "date", "note") if key in before}
    old = [[one for one in before[key] if one["part"] != anew] for key in ("rows", "claims")]
    return [{"measured": origin, **one} for one in old[0]], old[1]


PARTS = {"requests": requests, "category": one_category, "million": a_million, "peers": peers}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--items", type=int, default=50_000)
    words.add_argument("--rounds", type=int, default=300)
    words.add_argument("--million", type=int, default=1_000_000, help="items of the part of that name")
    words.add_argument("--only", action="append", choices=[*PARTS], help="these parts anew, the others as they were")
    words.add_argument("--note", help="what a reader of the result must know, e.g. other work on the machine")
    words.add_argument("--load", help=argparse.SUPPRESS)
    words.add_argument("--approximate", action="store_true", help=argparse.SUPPRESS)
    told = words.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if told.load:
        memory(told.load, told.approximate)
        return
    for name in told.only or PARTS:  # each is written once it is there: the last one takes minutes
        with tempfile.TemporaryDirectory() as place:
            rows, claims = PARTS[name](told, Path(place))
        for one in rows:
            print(f"{one['system']:<24} {one['figure']:<28} {one['median']:.3f} {one['unit']}", flush=True)
        others, said = kept(name)
        write_result("serving", others + [{"part": name, **one} for one in rows],
                     said + [{"part": name, **one} for one in claims], note=told.note)  # fmt: skip


if __name__ == "__main__":
    main()
