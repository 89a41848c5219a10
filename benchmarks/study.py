"""A search as people run it: 40 trials of SASRec on amazon_beauty, killed once on the way and gone on with.

    python benchmarks/study.py                       # about half an hour on 2 cores
    python benchmarks/study.py --trials 40 --kill-after 12

Runs `python tune.py` with Hyperband, at most 9 epochs a trial and widths and blocks that 2 cores can bear. After
`--kill-after` finished trials the process gets SIGKILL; the same command then goes on. Test is not looked at.
Writes `benchmarks/results/study.json` (every trial) and, with `--picture`, the study's plots as one picture.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import yaml

from _results import ROOT, at_least, at_most, row, write_result

SETTINGS = [
    "dataset=amazon_beauty", "model=sasrec", "tuning=hyperband", "trainer.max_epochs=9", "tracking=none",
    "tuning.space.width.choices=[32,64,128]", "tuning.space.blocks.high=2", "tuning.heartbeat_seconds=5",
    "progress=false",
]  # fmt: skip
PLOTS = ("history", "importance", "slice", "curves")


def finished(database: Path) -> int:
    """Trials of the study that have ended."""
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            query = "select count(*) from trials where state in ('COMPLETE', 'PRUNED', 'FAIL')"
            return int(connection.execute(query).fetchone()[0])
    except sqlite3.Error:
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--kill-after", type=int, default=12, help="finished trials before SIGKILL; 0: no kill")
    parser.add_argument("--folder", type=Path, default=ROOT / "studies" / "benchmark")
    parser.add_argument("--picture", type=Path, help="PNG for the study's plots side by side")
    parser.add_argument("--note", help="what a reader of the result must know, e.g. other work on the machine")
    a = parser.parse_args()
    folder = a.folder / "amazon_beauty-leave_one_out-sasrec"
    command = [sys.executable, "tune.py", *SETTINGS, f"tuning.trials={a.trials}", f"paths.studies={a.folder}"]
    env = os.environ | {"OMP_NUM_THREADS": "2"}
    start, killed_at = time.monotonic(), None
    if a.kill_after:
        victim = subprocess.Popen(command, cwd=ROOT, env=env)
        while victim.poll() is None and finished(folder / "study.db") < a.kill_after:
            time.sleep(1)
        time.sleep(5)  # into the next trial
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        killed_at = finished(folder / "study.db")
        time.sleep(16)  # three heartbeats: the killed trial is seen as dead and tried again
    subprocess.run(command, cwd=ROOT, env=env, check=True)
    seconds = time.monotonic() - start
    trials = json.loads((folder / "trials.json").read_text(encoding="utf-8"))
    states = Counter(t["state"] for t in trials)
    complete = [t for t in trials if t["state"] == "complete"]
    best = max(complete, key=lambda t: t["value"])
    found = yaml.safe_load((folder / "best.yaml").read_text(encoding="utf-8"))
    rows = [
        row("shopkeeper", "amazon_beauty", "validation NDCG@10 of the trials that were not pruned", "1",
            [t["value"] for t in complete]),
        row("shopkeeper", "amazon_beauty", "best validation NDCG@10", "1", [best["value"]]),
        row("shopkeeper", "amazon_beauty", "study", "s", [seconds]),
        row("shopkeeper", "amazon_beauty", "epochs of each trial", "1", [len(t["epochs"]) for t in trials]),
        row("shopkeeper", "amazon_beauty", "finished trials at the kill", "1", [killed_at or 0]),
        *(row("shopkeeper", "amazon_beauty", f"trials: {state}", "1", [n]) for state, n in sorted(states.items())),
    ]  # fmt: skip
    ended = sum(n for state, n in states.items() if state in ("complete", "pruned", "fail"))
    claims = [at_least("training", "amazon_beauty, trials of a study killed and resumed", ended, 40)]
    unnamed = sum(t["state"] == "fail" and not t.get("error") for t in trials)
    claims.append(at_most("training", "amazon_beauty, failed trials of that study without an error", unnamed, 0))
    write_result("study", rows, claims, note=a.note, more={"best": found["model"], "trials": trials})
    if a.picture:
        picture(folder, a.picture)


def picture(folder: Path, file: Path) -> None:
    """The plots that the search drew, in one."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(15, 9.5), layout="constrained")
    for axis, name in zip(axes.flat, PLOTS, strict=True):
        axis.axis("off")
        if (folder / f"{name}.png").is_file():
            axis.imshow(pyplot.imread(folder / f"{name}.png"))
    figure.savefig(file, dpi=90)


if __name__ == "__main__":
    main()
