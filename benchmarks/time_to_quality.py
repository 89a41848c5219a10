"""Training time until validation NDCG@10 reaches 95 % of its final value: this project, RecTools, RePlay, RecBole.

    python benchmarks/time_to_quality.py                       # ml_100k: ours, RePlay 0.22, RecTools 0.19
    python benchmarks/time_to_quality.py --peer recbole --train-limit-s 2400

The same targets and shape for all but RecBole, which runs with its own defaults: leave one out, length 200, width 64,
2 blocks, 1 head, dropout 0.2, batch 128, full softmax, learning rate 0.001, two threads. Each trains until validation
NDCG@10 has not risen for `--patience` epochs, or until a limit that is said. After each epoch `_quality.py` ranks the
whole catalogue, items of the history excluded, for the same customers from the system's own scores: that time, and the
set-up before the first batch, are off the clock of all. The final value is the best of a curve (what early stopping
keeps); the common target is 95 % of the lowest final value of the systems compared.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from _quality import Quality, save
from _results import RESULTS, at_least, not_had, row, write_result
from _training import LENGTH, THREADS, child, peer, prepare

SHAPE: dict[str, Any] = {"width": 64, "blocks": 2, "dropout": 0.2, "batch_size": 128}
SHARE = 0.95
NAMES = {"rectools": "RecTools", "replay": "RePlay", "recbole": "RecBole with its defaults"}


class EnoughError(Exception):
    """Ends our training from its callback."""


def ours(split_path: Path, dataset: str, quality: Quality, epochs: int) -> dict:
    """This project's curve; runs in a process of its own."""
    from shopkeeper.data.prepared import Prepared
    from shopkeeper.data.requests import Requests
    from shopkeeper.data.split import Split
    from shopkeeper.models.fit import Fit
    from shopkeeper.recommenders.networks.sasrec import SASRec
    from shopkeeper.training.config import TrainerConfig

    prepared = Prepared.open(split_path.parents[1])
    split = Split.named(prepared, split_path.name)
    target = tuple(split.timeline["spec"]["target_events"])
    model = SASRec(**SHAPE, max_length=LENGTH[dataset], epochs=epochs, patience=0)
    done: list[dict] = []

    def score(histories: list[np.ndarray]) -> np.ndarray:
        return model.score(Requests.from_histories([h.tolist() for h in histories]))

    def after(metrics: Mapping[str, float], epoch: int) -> None:
        done.append({"seconds": metrics["seconds"], "loss": metrics["loss"]})
        assert model.network is not None
        model.network.eval()
        ready = quality.measured(score, sum(e["seconds"] for e in done))
        model.network.train()
        if ready:
            raise EnoughError

    trainer = TrainerConfig(accelerator="cpu", threads=THREADS, validation_requests=0)
    fit = Fit(seed=1, target_events=target, filter_seen=True, trainer=trainer, progress=False, log=after)
    with contextlib.suppress(EnoughError):
        model.fit(prepared, split, fit)
    for epoch, value in zip(done, quality.curve, strict=True):
        epoch["ndcg@10"] = value
    return {"epochs": done, "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, "versions": {}}


def save_validation(split_path: Path, file: Path) -> None:
    """Histories and targets of the split's validation requests, for every system alike."""
    from shopkeeper.data.prepared import Prepared
    from shopkeeper.data.split import Split

    prepared = Prepared.open(split_path.parents[1])
    requests, targets = Split.named(prepared, split_path.name).part("validation")
    assert (np.diff(targets.offsets) == 1).all(), "leave one out has one target per request"
    at, rows = requests.flat()
    histories = np.split(np.asarray(prepared.events.item[rows]), at[1:-1])
    keep = [i for i, h in enumerate(histories) if len(h)]
    save(file, [histories[i] for i in keep], np.asarray(targets.item)[keep], prepared.n_items)


def seconds_to(result: dict, value: float) -> float | None:
    """Training seconds up to the end of the first epoch with at least this NDCG@10."""
    clock = np.cumsum([e["seconds"] for e in result["epochs"]])
    there = np.flatnonzero(np.asarray(curve(result)) >= value)
    return float(clock[there[0]]) if len(there) else None


def curve(result: dict) -> list[float]:
    return [e["ndcg@10"] for e in result["epochs"]]


def report(
    found: dict[str, list[dict]],
    failed: dict[str, str],
    dataset: str,
    versions: dict,
    out: str,
    patience: int,
    said: str | None,
) -> None:
    """Rows and claims to `benchmarks/results/time_to_quality.json`."""
    rows, claims = [], []
    final = {system: [max(curve(r)) for r in results] for system, results in found.items()}
    common = SHARE * min(float(np.median(v)) for v in final.values())
    own: dict[str, float] = {}
    shared: dict[str, float | None] = {}
    for system, results in found.items():
        times = [t for r in results if (t := seconds_to(r, SHARE * max(curve(r)))) is not None]  # each reaches its own
        own[system] = float(np.median(times))
        rows.append(row(system, dataset, "time to 95 % of its own final value", "s", times))
        reached = [t for t in (seconds_to(r, common) for r in results) if t is not None]
        shared[system] = float(np.median(reached)) if len(reached) == len(results) else None
        if reached:
            rows.append(row(system, dataset, f"time to a validation NDCG@10 of {common:.4f}", "s", reached))
        rows.append(row(system, dataset, "final validation NDCG@10", "1", final[system]))
        rows.append(row(system, dataset, "epochs trained", "1", [len(r["epochs"]) for r in results]))
        rows.append(row(system, dataset, "training", "s", [sum(e["seconds"] for e in r["epochs"]) for r in results]))
        stopped = [len(curve(r)) - 1 - int(np.argmax(curve(r))) >= patience for r in results]
        rows.append(row(system, dataset, "ended by patience (0: by the limit of time or epochs)", "1", stopped))
        rows.append(row(system, dataset, "peak memory", "GiB", [r["peak_gib"] for r in results]))
        for i, r in enumerate(results, 1):
            clock = np.cumsum([e["seconds"] for e in r["epochs"]])
            rows.append(row(system, dataset, f"run {i}: validation NDCG@10 after each epoch", "1", curve(r)))
            rows.append(row(system, dataset, f"run {i}: training time after each epoch", "s", clock))
            losses = [e["loss"] for e in r["epochs"] if e.get("loss") is not None]
            rows.append(row(system, dataset, f"run {i}: loss after each epoch", "1", losses))
    for name, spoken in NAMES.items():
        what = f"{dataset}, time to 95 % of the final validation NDCG@10, times as fast as {spoken}"
        same = f"{dataset}, time to the same validation NDCG@10, times as fast as {spoken}"
        if name not in found or "shopkeeper" not in found:
            reason = failed.get(name, failed.get("shopkeeper", f"not run (--peer {name})"))
            claims += [not_had("training", text, 1.0, reason) for text in (what, same)]
            continue
        claims.append(at_least("training", what, own[name] / own["shopkeeper"], 1.0))
        theirs, mine = shared[name], shared["shopkeeper"]
        if theirs is None or mine is None:
            who = name if theirs is None else "shopkeeper"
            claims.append(not_had("training", same, 1.0, f"a run of {who} stayed below {common:.4f}"))
        else:
            claims.append(at_least("training", same, theirs / mine, 1.0))
    file = RESULTS / f"{out}.json"
    if file.is_file():  # peers that were not run this time keep what was measured, with its origin
        before = json.loads(file.read_text(encoding="utf-8"))
        origin = {k: before[k] for k in ("command", "commit", "date") if k in before}
        kept = {name for name in NAMES if name not in found and name not in failed}
        dated = [{"measured": origin, **r} for r in before["rows"]]
        runs = {r["measured"]["date"] for r in dated if r["system"] in kept}  # with our training of then beside them
        of_then = {*kept, "shopkeeper"}
        rows += [
            r for r in dated if r["dataset"] != dataset or (r["system"] in of_then and r["measured"]["date"] in runs)
        ]
        old = {c["what"]: {"measured": origin, **c} for c in before["claims"]}
        anew = {c["what"] for c in claims}
        called = tuple(f"times as fast as {NAMES[name]}" for name in kept)
        claims = [old.get(c["what"], c) if c["what"].endswith(called) else c for c in claims]
        claims += [c for what, c in old.items() if what not in anew]
        versions = before["versions"] | versions
    path = write_result(out, rows, claims, versions=versions)
    if said:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"note": said}, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=["ml_100k", "ml_1m"], default="ml_100k")
    parser.add_argument("--peer", choices=list(NAMES), action="append", help="default: replay and rectools")
    parser.add_argument("--repeat", type=int, default=3, help="trainings of this project; peers train once")
    parser.add_argument("--patience", type=int, default=10, help="epochs without a better value before training ends")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--train-limit-s", type=float, default=900, help="a training ends after the epoch that passes")
    parser.add_argument("--keep", type=Path, help="file of raw results: those in it count, new ones are added to it")
    parser.add_argument("--note", help="what a reader of the result must know, e.g. other work on the machine")
    parser.add_argument("--out", default="time_to_quality", help="name of the result file")
    parser.add_argument("--ours", nargs=2, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.ours:
        quality = Quality.of(a.ours[1], a.patience, a.train_limit_s)
        print("\n" + json.dumps(ours(Path(a.ours[0]), a.data, quality, a.epochs)))
        return
    found: dict[str, list[dict]] = {}
    failed: dict[str, str] = {}
    kept = [json.loads(x) for x in a.keep.read_text().splitlines()] if a.keep and a.keep.is_file() else []

    def note(system: str, result: dict | str, new: bool = True) -> None:
        if isinstance(result, str):
            failed[system] = result
            print(f"{system}: {result}", flush=True)
            return
        found.setdefault(system, []).append(result)
        best, n = max(curve(result)), len(result["epochs"])
        total, there = sum(e["seconds"] for e in result["epochs"]), seconds_to(result, SHARE * best)
        print(f"{system}: best NDCG@10 {best:.4f} in {n} epochs, {total:.1f} s; 95 % after {there:.1f} s", flush=True)
        if a.keep and new:
            with a.keep.open("a") as file:
                file.write(json.dumps([system, result]) + "\n")

    for system, result in kept:
        note(system, result, new=False)
    with tempfile.TemporaryDirectory() as name:
        split = prepare(a.data, Path(name))
        validation = Path(name) / "validation.npz"
        save_validation(split, validation)
        limits = ["--patience", str(a.patience), "--train-limit-s", str(a.train_limit_s), "--epochs", str(a.epochs)]
        me = [sys.executable, __file__, "--data", a.data, *limits, "--ours", str(split), str(validation)]
        options = {**SHAPE, "epochs": a.epochs, "quality": str(validation), "patience": a.patience,
                   "train_limit_s": a.train_limit_s}  # fmt: skip
        room = 3 * a.train_limit_s + 600  # set-up, and the one epoch that passes the limit
        peers = a.peer or ["replay", "rectools"]
        mine = len(found.get("shopkeeper", []))
        for i in range(max(a.repeat, len(peers))):  # alternating
            if mine <= i < a.repeat:
                note("shopkeeper", child(me, room))
            if i < len(peers) and peers[i] not in found:
                note(peers[i], peer(peers[i], a.data, Path(name), options, room))
    versions = {f"{s}: {k}": v for s, results in found.items() for r in results for k, v in r["versions"].items()}
    if found:
        report(found, failed, a.data, versions, a.out, a.patience, a.note)


if __name__ == "__main__":
    main()
