"""What a search costs: trials of SASRec as they were searched before, and with halving as today, in one run.

    python benchmarks/search.py                                 # 40 trials on amazon_beauty, an hour on 2 cores
    python benchmarks/search.py --dataset ml_100k --trials 12   # a smaller one, which the result says

Both sides search the same space with as many trials, at most 9 epochs each, and draw with the same seed. `then` is
Hyperband by the code of `--then` (that of `study.json`), unpacked beside this one; `now` is `tuning=halving` by the
code of this folder, where trials that lead go on from their checkpoints. Each `--repeat` is both of them, in turns as
to who goes first; datasets are prepared before. What counts is processor time, since other work on the machine is in
the other one. Test is not looked at.

Writes `benchmarks/results/search.json`; what it says of other sizes stays. A search that is there is not made again
(`outputs/search`).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

from _results import RESULTS, ROOT, at_least, at_most, not_had, of_file, row, write_result

NAME, ISSUE = "search", "zoo"
THEN = "3203285d07e4f74aef98c90f737964d64b6c1800"
FULL = ("amazon_beauty", 40)
SHARE, WORSE = 0.6, 0.0005  # of the processor time; of the best NDCG@10
METHODS = {"then": "hyperband", "now": "halving"}
SETTINGS = [
    "model=sasrec", "split=leave_one_out", "trainer.max_epochs=9", "tuning.space.width.choices=[32,64,128]",
    "tuning.space.blocks.high=2", "tracking=none", "progress=false",
]  # fmt: skip


def unpacked(commit: str, folder: Path) -> Path:
    """The files of a commit, in a folder that is made where it is missing."""
    if not folder.is_dir():
        packed = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
    return folder


def ran(tree: Path, *words: str) -> dict[str, float]:
    """Seconds of a verb by the clock and of processors; its last words, where it fails, end this program."""
    began = time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(tree / "src")}
    child = subprocess.Popen([sys.executable, *words], cwd=tree, env=environment, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert child.stderr is not None
    said = child.stderr.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{tree.name}: {words[0]}: {(said.strip().splitlines() or ['no message'])[-1]}")
    return {"seconds": time.monotonic() - began, "processor": used.ru_utime + used.ru_stime}


def searched(side: str, tree: Path, dataset: str, trials: int, seed: int, studies: Path) -> dict[str, Any]:
    """One search: what it took, the best value, epochs over all trials, and how trials ended."""
    kept = studies / "took.json"
    if not kept.is_file():
        words = [f"dataset={dataset}", *SETTINGS, f"tuning={METHODS[side]}", f"tuning.trials={trials}",
                 f"tuning.seed={seed}", f"paths.studies={studies}"]  # fmt: skip
        took = ran(tree, "tune.py", *words)
        kept.write_text(json.dumps(took), encoding="utf-8")
    (file,) = studies.glob("*/trials.json")
    found = json.loads(file.read_text(encoding="utf-8"))
    best = max(t["value"] for t in found if t["state"] == "complete")
    epochs = {_first(t): len(t["epochs"]) for t in found}  # one that went on tells the epochs before, too
    states = {state: sum(t["state"] == state for t in found) for state in ("complete", "pruned", "fail")}
    return {**json.loads(kept.read_text(encoding="utf-8")), "best": best, "epochs": sum(epochs.values()), **states}


def _first(trial: dict[str, Any]) -> str:
    """Trials with the same settings are one trial that has waited."""
    return json.dumps(trial["params"], sort_keys=True)


def rows_and_claims(dataset: str, trials: int, found: dict[str, list[dict[str, Any]]]) -> tuple[list[Any], list[Any]]:
    """Every figure of both sides with each repetition; time as a share, and what is lost of the best value."""
    units = {"processor": "s", "seconds": "s", "best": "1", "epochs": "1", "complete": "1", "pruned": "1", "fail": "1"}
    rows = [row(f"{side}, {METHODS[side]}", _size(dataset, trials), figure, unit, [s[figure] for s in searches])
            for side, searches in found.items() for figure, unit in units.items()]  # fmt: skip
    share = statistics.median(n["processor"] / t["processor"] for n, t in zip(found["now"], found["then"], strict=True))
    gain = statistics.median(n["best"] - t["best"] for n, t in zip(found["now"], found["then"], strict=True))
    what = f"{_size(dataset, trials)}: a search"
    return rows, [
        at_most(ISSUE, f"{what}, share of the processor time of then", share, SHARE),
        at_least(ISSUE, f"{what}, best validation NDCG@10 less that of then", gain, -WORSE),
    ]


def _size(dataset: str, trials: int) -> str:
    return f"{dataset}, {trials} trials"


def main(a: argparse.Namespace) -> None:
    place = (ROOT / "outputs" / NAME).resolve()
    commit = subprocess.run(["git", "rev-parse", a.then], cwd=ROOT, capture_output=True, text=True, check=True)
    trees = {"then": unpacked(a.then, place / commit.stdout.strip()[:12]), "now": ROOT}
    for tree in trees.values():
        ran(tree, "prepare.py", f"dataset={a.dataset}", "split=leave_one_out")
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in METHODS}
    for seed in range(1, a.repeat + 1):
        for side in sorted(METHODS, reverse=seed % 2 == 1):  # then, now; now, then; …
            studies = place / "studies" / f"{a.dataset}-{a.trials}-{side}-{seed}"
            found[side].append(searched(side, trees[side], a.dataset, a.trials, seed, studies))
            print(side, seed, found[side][-1], flush=True)
    rows, claims = rows_and_claims(a.dataset, a.trials, found)
    size = _size(a.dataset, a.trials)
    old_rows, old_claims = of_file(NAME)
    rows = [r for r in old_rows if r["dataset"] != size] + rows
    claims = [c for c in old_claims if c["value"] is not None and not c["what"].startswith(f"{size}:")] + claims
    if not any(c["what"].startswith(_size(*FULL)) for c in claims):
        reason = "the full size has not been run; python benchmarks/search.py"
        claims.append(not_had(ISSUE, f"{_size(*FULL)}: a search, share of the processor time of then", SHARE, reason))
    write_result(NAME, rows, claims, note=a.note, more={"then": commit.stdout.strip()}, folder=a.folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default=FULL[0])
    parser.add_argument("--trials", type=int, default=FULL[1])
    parser.add_argument("--repeat", type=int, default=1, help="with another seed of the sampler each")
    parser.add_argument("--then", default=THEN, help="the commit of the other side")
    parser.add_argument("--note", help="what a reader of the result must know, e.g. other work on the machine")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where the result is written")
    main(parser.parse_args())
