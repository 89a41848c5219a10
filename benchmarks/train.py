"""How fast SASRec trains: this project, RecTools 0.19, RePlay 0.22 and RecBole 1.2.1 on the same sequences and shape.

    python benchmarks/train.py                         # everything, alternating; peers in .venv-<peer>
    python benchmarks/train.py --only ml_1m --repeat 1
    python benchmarks/train.py --peer-repeat amazon_beauty.rectools=2 --peer-repeat ml_100k.recbole=1
    python benchmarks/train.py --spans                 # only what follows from the kept runs, anew

ml_1m: length 200, amazon_beauty: length 50; width 64, 2 blocks, 1 head, dropout 0.1, batch 128, full softmax, learning
rate 0.001, two threads. RecBole runs with its own defaults on ml_100k and is compared at the same number of targets.
On ml_1m the first run of a peer takes two epochs, so that their losses stand beside ours; all others take one.
Every system waits passively for its threads (OMP_WAIT_POLICY), so that other work on the machine slows all alike.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from _results import RESULTS, at_least, at_most, not_had, row, write_result
from _training import LENGTH, THREADS, child, peer, prepare

SHAPE = {"width": 64, "blocks": 2, "dropout": 0.1, "batch_size": 128}
REPEAT = {  # data -> peer -> runs; what takes long runs once (RecTools on Beauty: 240 s an epoch and more)
    "ml_1m": {"replay": 2, "rectools": 2},
    "amazon_beauty": {"replay": 2, "rectools": 1},
    "ml_100k": {"recbole": 2},
}
FIRST = {"ml_1m": 2}  # epochs of a peer's first run
EPOCHS = 3  # of each of our runs
REQUIRED = {  # data, peer -> times as fast: required, aim
    ("ml_1m", "replay"): (4, 6),
    ("ml_1m", "rectools"): (8, 12),
    ("amazon_beauty", "rectools"): (20, 40),
    ("ml_100k", "recbole"): (100, None),
}


def ours(split_path: Path, dataset: str, epochs: int, extra: dict) -> dict:
    """This project's figures; runs in a process of its own."""
    from shopkeeper.data.prepared import Prepared
    from shopkeeper.data.split import Split
    from shopkeeper.models.fit import Fit
    from shopkeeper.recommenders.networks.sasrec import SASRec
    from shopkeeper.training.config import TrainerConfig
    from shopkeeper.training.module import SequenceModule

    prepared = Prepared.open(split_path.parents[1])
    split = Split.named(prepared, split_path.name)
    target = tuple(split.timeline["spec"]["target_events"])
    model = SASRec(**{**SHAPE, "max_length": LENGTH[dataset], "inputs": "targets", "epochs": epochs, **extra})
    first: list[float] = []
    step, processor = SequenceModule.training_step, list[float]()

    def timed_step(self: Any, *args: Any) -> None:
        first.append(time.perf_counter())
        used = resource.getrusage(resource.RUSAGE_SELF)
        processor.append(used.ru_utime + used.ru_stime)
        step(self, *args)

    SequenceModule.training_step = timed_step  # type: ignore[method-assign,assignment]
    start = time.perf_counter()
    trainer = TrainerConfig(accelerator="cpu", threads=THREADS)
    model.fit(prepared, split, Fit(seed=1, target_events=target, filter_seen=True, trainer=trainer, progress=False))
    assert model.trained is not None
    history = model.trained.history
    n = len(processor) // len(history)
    return {
        "epochs": [
            {
                "seconds": h["seconds"],
                "cpu_seconds": (processor[(i + 1) * n - 1] - processor[i * n]) * n / (n - 1),
                "loss": h["loss"],
                "validation_seconds": h["validation_seconds"],
                "ndcg@10": h["ndcg@10"],
            }
            for i, h in enumerate(history)
        ],
        "positions": round(history[0]["events_per_s"] * history[0]["seconds"]),
        "first_batch_s": first[0] - start,
        "wall": [t - start for t in first[n - 1 :: n]],
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "versions": {},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(REPEAT), action="append")
    parser.add_argument("--repeat", type=int, default=2, help="runs of this project on each data set")
    parser.add_argument("--peer-repeat", action="append", default=[], metavar="DATA.PEER=N", help="0 leaves a peer out")
    parser.add_argument("--limit-s", type=float, default=1200, help="a peer's run is stopped after this")
    parser.add_argument("--keep", type=Path, help="file of raw results: those in it count, new ones are added to it")
    parser.add_argument("--out", default="train", help="name of the result file")
    parser.add_argument("--note", help="what a reader of the result must know, e.g. other work on the machine")
    parser.add_argument("--spans", action="store_true", help="write the spans over the runs of the result file anew")
    parser.add_argument("--ours", nargs=4, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.ours:
        print("\n" + json.dumps(ours(Path(a.ours[0]), a.ours[1], int(a.ours[2]), json.loads(a.ours[3]))))
        return
    if a.spans:
        file = RESULTS / f"{a.out}.json"
        result = json.loads(file.read_text(encoding="utf-8"))
        result["rows"] = with_spans(result["rows"])
        file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        return
    found: dict[tuple[str, str], list[dict]] = {}
    failed: dict[tuple[str, str], str] = {}
    for line in a.keep.read_text(encoding="utf-8").splitlines() if a.keep and a.keep.is_file() else []:
        note(found, failed, *json.loads(line))
    times = {dataset: dict(peers) for dataset, peers in REPEAT.items()}
    for word in a.peer_repeat:
        place, _, n = word.partition("=")
        dataset, _, system = place.partition(".")
        if system not in times.get(dataset, {}) or not n.isdigit():
            parser.error(f"--peer-repeat {word}: DATA.PEER=N with one of {', '.join(map(str, REPEAT))}")
        times[dataset][system] = int(n)
    with tempfile.TemporaryDirectory() as name:
        for dataset in a.only or REPEAT:
            split = prepare(dataset, Path(name))
            for i in range(max(a.repeat, *times[dataset].values())):  # alternating
                if i < a.repeat:
                    me = [sys.executable, __file__, "--ours", str(split), dataset, str(EPOCHS), "{}"]
                    note(found, failed, dataset, "shopkeeper", child(me, a.limit_s), a.keep)
                for system, n in times[dataset].items():
                    if i < n:
                        options = {**SHAPE, "epochs": FIRST.get(dataset, 1) if i == 0 else 1}
                        result = peer(system, dataset, Path(name), options, a.limit_s)
                        note(found, failed, dataset, system, result, a.keep)
    report(found, failed, a.only or list(REPEAT), a.note, a.out)


def note(found: dict, failed: dict, dataset: str, system: str, result: dict | str, keep: Path | None = None) -> None:
    """Keep a result, or the reason why there is none."""
    print(dataset, system, result if isinstance(result, str) else result["epochs"], flush=True)
    if keep is not None:
        with keep.open("a", encoding="utf-8") as file:
            file.write(json.dumps([dataset, system, result]) + "\n")
    if not isinstance(result, str) and not result["epochs"]:
        result = "no epoch was timed"
    if isinstance(result, str):
        failed[dataset, system] = result
    else:
        found.setdefault((dataset, system), []).append(result)


def with_spans(rows: list[dict]) -> list[dict]:
    """And the ratios from run to run: a peer's fastest epoch over our slowest one, its slowest over our fastest."""
    kept = [r for r in rows if not r["figure"].startswith("span")]
    time_of = {(r["dataset"], r["system"], r["figure"]): r["values"] for r in kept}
    spans = []
    for dataset, peers in REPEAT.items():
        for other in peers:
            for figure, what in (("epoch", "times as fast as"), ("processor time of an epoch", "processor time than")):
                mine, its = (time_of.get((dataset, name, figure)) for name in ("shopkeeper", other))
                if mine and its:
                    a, b = (time_of[dataset, name, "target positions of an epoch"][0] for name in ("shopkeeper", other))
                    ends = [min(its) / max(mine) * a / b, max(its) / min(mine) * a / b]
                    spans.append(row("shopkeeper", dataset, f"span of runs, {what} {other}", "1", ends))
    return kept + spans


def report(found: dict, failed: dict, datasets: list[str], said: str | None, out: str) -> None:
    """Rows and claims to `benchmarks/results/<out>.json`; those of data not run this time stay, with their origin."""
    rows: list[dict[str, Any]] = []
    claims: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    seconds: dict[tuple[str, str], float] = {}
    for (dataset, system), results in found.items():
        epochs = [e for r in results for e in r["epochs"]]
        versions |= {f"{system}: {k}": v for r in results for k, v in r["versions"].items()}
        rows.append(row(system, dataset, "epoch", "s", [e["seconds"] for e in epochs]))
        rows.append(row(system, dataset, "processor time of an epoch", "s", [e["cpu_seconds"] for e in epochs]))
        rate = [r["positions"] / e["seconds"] for r in results for e in r["epochs"]]
        rows.append(row(system, dataset, "target positions", "1/s", rate))
        rows.append(row(system, dataset, "target positions of an epoch", "1", [r["positions"] for r in results]))
        if peaks := [r["peak_gib"] for r in results if r["peak_gib"]]:
            rows.append(row(system, dataset, "peak memory", "GiB", peaks))
        for i in range(max(len(r["epochs"]) for r in results)):
            of_epoch = [r["epochs"][i] for r in results if i < len(r["epochs"])]
            loss = [e["loss"] for e in of_epoch if e.get("loss") is not None]
            if loss:
                rows.append(row(system, dataset, f"loss of epoch {i + 1}", "nats", loss))
        seconds[dataset, system] = float(np.median([1 / x for x in rate]))  # of one target position
        seconds[dataset, system + " cpu"] = float(
            np.median([e["cpu_seconds"] / r["positions"] for r in results for e in r["epochs"]])
        )
    for dataset, other in ((d, p) for d in datasets for p in REPEAT[d]):
        required, aim = REQUIRED.get((dataset, other), (None, None))
        what = f"{dataset} epoch, times as fast as {other}" + (" with its defaults" if other == "recbole" else "")
        if (dataset, other) not in found or (dataset, "shopkeeper") not in found:
            reason = failed.get((dataset, other), failed.get((dataset, "shopkeeper"), "not run"))
            if required:
                claims.append(not_had("training", what, required, reason))
            continue
        times = seconds[dataset, other] / seconds[dataset, "shopkeeper"]
        rows.append(row("shopkeeper", dataset, f"times as fast as {other}", "1", [times]))
        cpu = seconds[dataset, other + " cpu"] / seconds[dataset, "shopkeeper cpu"]
        rows.append(row("shopkeeper", dataset, f"processor time, times less than {other}", "1", [cpu]))
        if required:
            claims.append(at_least("training", what, times, required))
        if aim:
            claims.append(at_least("training", what + " (aim)", times, aim, kind="aim"))
    if ("ml_1m", "shopkeeper") in found:
        results = found["ml_1m", "shopkeeper"]
        share = [e["validation_seconds"] / e["seconds"] for r in results for e in r["epochs"]]
        first = [r["first_batch_s"] for r in results if r["first_batch_s"]]
        rows.append(row("shopkeeper", "ml_1m", "validation, share of an epoch", "1", share))
        claims.append(at_most("training", "validation, share of an ml_1m epoch", float(np.median(share)), 0.15))
        if first:
            rows.append(row("shopkeeper", "ml_1m", "first batch after imports", "s", first))
            claims.append(at_most("training", "first ml_1m batch, seconds after imports", float(np.median(first)), 3.0))
    result = RESULTS / f"{out}.json"
    if result.is_file():
        before = json.loads(result.read_text(encoding="utf-8"))
        origin = {k: before[k] for k in ("command", "commit", "date", "note") if k in before}
        rows += [{"measured": origin, **r} for r in before["rows"] if r["dataset"] not in datasets]
        versions = before["versions"] | versions
        others = set(REPEAT) - set(datasets)
        claims += [c for c in before["claims"] if any(d in c["what"] for d in others)]
    path = write_result(out, with_spans(rows), claims, versions=versions)
    if said:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"note": said}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
