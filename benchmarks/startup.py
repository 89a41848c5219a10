"""What a short command and the whole demo cost in processor time, beside the commit before the house was rebuilt.

`python benchmarks/startup.py` checks both commits out in a temporary folder, runs the same commands in them in turn and
writes `benchmarks/results/startup.json`. Both use this environment; PYTHONPATH chooses the source. Processor time is
user and system time of a command and of all that it starts, so that waiting for a disk or for others counts nothing.

- `train`: `python train.py model=popularity` on the prepared demo shop, without a tracker and with MLflow on SQLite
- `demo`: what `make demo` does after installation, in a fresh checkout each time
- `nothing`: `dvc repro` where nothing has changed

`--only train,demo,nothing` measures some of them anew and keeps the rest of the file, each row with the run that it is
of. `--repetitions N`; `--json` prints and writes no file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from _results import ROOT, at_most, not_had, of_file, row, write_result

BEFORE = "6b88260"
TRAIN = ["python", "train.py", "model=popularity", "progress=false"]
DEMO = (["dvc", "repro"], ["python", "-m", "shopkeeper", "leaderboard"])
SHARE = {"train, tracking=none": 0.5, "train, MLflow": 0.5, "demo": 0.6, "nothing": 1.0}  # of the commit before


class Side:
    """One of the two commits: where it is checked out, and how commands are run there."""

    def __init__(self, name: str, commit: str, top: Path):
        self.name, self.commit, self.top = name, commit, top / name
        self.place = self.top / "shop"
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.place / "src"),
            "XDG_CACHE_HOME": str(self.top / "cache"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    def check_out(self) -> None:
        """A fresh checkout in the place of the last one."""
        self.leave()
        self.top.mkdir(parents=True, exist_ok=True)
        _git("worktree", "add", "--detach", str(self.place), self.commit)

    def leave(self) -> None:
        """Remove the checkout."""
        if self.place.exists():
            _git("worktree", "remove", "--force", "--force", str(self.place))
        shutil.rmtree(self.top, ignore_errors=True)

    def cost(self, *commands: Sequence[str], again: int = 0) -> float:
        """Processor seconds of commands and all that they start; they must succeed, if need be `again`."""
        before = _spent()
        for words in commands:
            done = subprocess.run(words, cwd=self.place, env=self.environment, capture_output=True, text=True)
            if done.returncode and again:  # MLflow makes its database: on a busy machine longer than a command waits
                (self.place / "mlflow.db").unlink(missing_ok=True)
                return self.cost(*commands, again=again - 1)
            if done.returncode:
                raise SystemExit(f"{self.name}: {' '.join(words)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return _spent() - before


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@contextmanager
def both() -> Iterator[tuple[Side, Side]]:
    """The commit before and this tree, with what is not committed of tracked files; removed at the end."""
    with tempfile.TemporaryDirectory() as top:
        sides = (Side("before", BEFORE, Path(top)), Side("now", _git("stash", "create") or "HEAD", Path(top)))
        try:
            yield sides
        finally:
            for side in sides:
                side.leave()


def costs_of(words: Sequence[str], side: Side) -> float:
    """Of one command."""
    return side.cost(words)


def in_turn(sides: Sequence[Side], repetitions: int, cost: Callable[[Side], float]) -> dict[str, list[float]]:
    """The cost on each side, repetition by repetition, the first of a pair changing with each."""
    values: dict[str, list[float]] = {side.name: [] for side in sides}
    for n in range(repetitions):
        for side in sides if n % 2 == 0 else tuple(reversed(sides)):
            values[side.name].append(cost(side))
            print(f"  {side.name} {values[side.name][-1]:.2f}", end="", flush=True)
    print()
    return values


def demo(side: Side) -> float:
    """What `make demo` does in a new checkout."""
    side.check_out()
    return side.cost(*DEMO)


def measure(only: Sequence[str], repetitions: int) -> dict[str, Mapping[str, list[float]]]:
    """Every figure by name and side."""
    found: dict[str, Mapping[str, list[float]]] = {}
    with both() as sides:
        if "demo" in only:
            print("demo")
            found["demo"] = in_turn(sides, repetitions, demo)
        else:
            for side in sides:
                side.check_out()
        if "nothing" in only:
            print("nothing")
            for side in sides:  # a second time, when nothing is new any more
                side.cost(["dvc", "repro"])
                time.sleep(3)
                side.cost(["dvc", "repro"])
            found["nothing"] = in_turn(sides, repetitions, lambda side: side.cost(["dvc", "repro"]))
        if "train" in only:
            for name, tracking in (("train, tracking=none", "none"), ("train, MLflow", "mlflow")):
                words = [*TRAIN, f"tracking={tracking}"]
                print(name)
                for side in sides:  # compiled, prepared, and with a database
                    side.cost(words, again=3)
                found[name] = in_turn(sides, repetitions, partial(costs_of, words))
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--only", default="demo,nothing,train")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.only.split(","), given.repetitions)
    median = {name: {side: statistics.median(v) for side, v in values.items()} for name, values in found.items()}
    if given.json:
        shares = {name: v["now"] / v["before"] for name, v in median.items()}
        print(json.dumps({"median": median, "share": shares}, indent=1))
        return
    rows = [
        row({"before": f"shopkeeper {BEFORE}", "now": "shopkeeper"}[side], "demo_shop", name, "processor seconds", v)
        for name, values in found.items()
        for side, v in values.items()
    ]
    what = {name: f"{name}: share of the processor time at {BEFORE}" for name in SHARE}
    kept, said = of_file("startup")
    before = {claim["what"]: claim for claim in said}
    claims = [
        at_most("house", what[name], median[name]["now"] / median[name]["before"], share)
        if name in median
        else before.get(what[name]) or not_had("house", what[name], share, "not measured yet, see --only")
        for name, share in SHARE.items()
    ]
    write_result("startup", [*rows, *(r for r in kept if r["figure"] not in median)], claims)


if __name__ == "__main__":
    main()
