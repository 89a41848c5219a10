"""What checks, hashes, locks and adjusted tests cost: the verbs of this working tree against an earlier commit's.

    python benchmarks/trust_cost.py                    # 5 repetitions of each, in turn; about 12 minutes on 2 cores
    python benchmarks/trust_cost.py --repetitions 3 --only "prepare, log"

Both sides run as a person types them, in this interpreter, from a folder of their own; `PYTHONPATH` picks the source.
Two threads at most. Processor time is that of the whole process (user and system, with imports), peak memory its
largest resident set; the sides take turns in beginning, so that a busy spell of the machine or a warm cache favours
neither.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from _results import ROOT, at_most, of_file, row, write_result

BEFORE = "6b88260"  # the last commit before what this measures
LIMIT = 1.03
ROWS = 3_000_000
LOG = {
    "defaults": [{"override /split@_global_.split": "leave_one_out"}], "name": "log", "reader": {"format": "csv"},
    "columns": {name: name for name in ("user_id", "item_id", "timestamp", "price")}, "timestamp": {"unit": "s"},
    "event_type": "view", "target_events": ["view"], "filter_seen": False, "filters": {"k_core": 5},
    "max_rejected_share": 0,
}  # fmt: skip
NET = ["model=sasrec", "model.width=32", "model.blocks=1", "model.max_length=50", "model.epochs=2", "trainer=cpu"]
# Told what it had by itself then: today it asks the training rows, which is other work.
NEIGHBOURS = ["model=item_knn", "model.neighbours=50", "model.shrinkage=10", "model.half_life_events=2",
              "model.self_similarity=null"]  # fmt: skip
CHURN = ["dataset=online_retail", "model=lightgbm"]
RUNS = "tracking=none"
WORK = {  # in this order: a line needs what those before it left
    "prepare, log": ["prepare.py", "--config-dir", "conf", "dataset=log"],
    "prepare, online_retail": ["prepare.py", "dataset=online_retail"],
    "prepare, ml_1m": ["prepare.py", "dataset=ml_1m"],
    "train sasrec, ml_1m": ["train.py", "dataset=ml_1m", *NET, RUNS, "hydra.run.dir=sasrec"],
    "train item_knn, ml_1m": ["train.py", "dataset=ml_1m", *NEIGHBOURS, RUNS, "hydra.run.dir=item_knn"],
    "train lightgbm, online_retail": ["train.py", *CHURN, RUNS, "hydra.run.dir=churn"],
    "evaluate, ml_1m": ["evaluate.py", "dataset=ml_1m", "runs=[sasrec,item_knn]", RUNS, "out=page"],
    "rank and measure 50,000 users": ["benchmarks/evaluate.py", "--one", "shopkeeper-lists", "--users", "50000"],
}  # fmt: skip
MUST = "prepare, ml_1m"  # too short to measure; the rest reads what it leaves


def measure(tree: Path, place: Path, words: list[str]) -> dict[str, float]:
    """Run one command of a tree in a folder; its seconds, processor seconds and peak memory in GiB."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
    env = (
        os.environ | dict.fromkeys(names, "2") | {"OMP_WAIT_POLICY": "PASSIVE", "XDG_CACHE_HOME": str(place / "cache")}
    )
    env |= {"PYTHONPATH": str(tree / "src"), "MLFLOW_DISABLE_TELEMETRY": "true"}
    quiet = ["progress=false"] if not words[0].startswith("benchmarks/") else []
    began = time.perf_counter()
    with open(place / "said.txt", "w+", encoding="utf-8") as said:
        command = [sys.executable, str(tree / words[0]), *words[1:], *quiet]
        process = subprocess.Popen(command, cwd=place, env=env, stdout=said, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)}: {said.read()[-2000:]}")
    return {"time": time.perf_counter() - began, "processor time": used.ru_utime + used.ru_stime,
            "peak memory": used.ru_maxrss / 2**20}  # fmt: skip


def make_log() -> Path:
    """The log of `benchmarks/prepare.py`, by a process of its own: a child's peak memory counts what its parent has."""
    make = f"from _log import generate; print(generate({ROWS}))"
    done = subprocess.run([sys.executable, "-c", make], cwd=Path(__file__).parent, check=True, capture_output=True)
    return Path(done.stdout.decode().strip())


def make_place(place: Path, log: Path) -> Path:
    """A folder to work in, with the log's own YAML."""
    (place / "conf" / "dataset").mkdir(parents=True)
    text = yaml.safe_dump(LOG | {"raw": {"folder": str(log.parent), "files": [log.name]}})
    (place / "conf" / "dataset" / "log.yaml").write_text(text, encoding="utf-8")
    return place


def main(repetitions: int, only: list[str] | None) -> None:
    """Alternate, then compare medians."""
    wanted = {name: words for name, words in WORK.items() if name == MUST or not only or name in only}
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    log = make_log()
    with tempfile.TemporaryDirectory() as folder:
        earlier = Path(folder) / "before"
        subprocess.run(["git", "worktree", "add", "--detach", str(earlier), BEFORE], cwd=ROOT, check=True,
                       capture_output=True)  # fmt: skip
        try:
            for repetition in range(repetitions):
                order = {"before": earlier, "now": ROOT} if repetition % 2 == 0 else {"now": ROOT, "before": earlier}
                # Anew each time: what lies there already is not prepared again.
                places = {side: make_place(Path(folder) / f"{side}-{repetition}", log) for side in order}
                for name, words in wanted.items():
                    for side, tree in order.items():
                        found.setdefault((name, side), []).append(measure(tree, places[side], words))
                        print(name, side, found[name, side][-1], flush=True)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(earlier)], cwd=ROOT, check=False)
    rows: list[dict[str, Any]] = []
    claims = []
    for name in wanted:
        for figure, unit in (("time", "s"), ("processor time", "s"), ("peak memory", "GiB")):
            values = {side: [run[figure] for run in found[name, side]] for side in ("before", "now")}
            rows += [row(side, name, figure, unit, values[side]) for side in values]
            if figure != "time" and name != MUST:
                ratio = median(values["now"]) / median(values["before"])
                claims.append(at_most("trust", f"{name}: {figure} over that of {BEFORE}", ratio, LIMIT))
    kept, said = of_file("trust_cost")
    rows += [r for r in kept if only and r["dataset"] not in (*only, MUST)]
    claims += [c for c in said if only and c["what"] not in {claim["what"] for claim in claims}]
    write_result("trust_cost", rows, claims)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=list(WORK), help="measure these anew, keep the others")
    arguments = parser.parse_args()
    main(arguments.repetitions, arguments.only)
