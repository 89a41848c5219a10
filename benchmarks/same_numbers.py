"""Do two commits give the same numbers, to the last digit? The whole way of the demo shop, in both.

    python benchmarks/same_numbers.py OLD_COMMIT [--customers 1500] [--place FOLDER]

Both commits are unpacked side by side, prepare the same simulated shop and train popularity, item_knn, sasrec (two
epochs), logistic and lightgbm on it; then a report of all and three bundles. Held against each other: `metrics.json`
(with the target hashes), the loss curve, `comparisons.json`, `leaderboard.json`, `sanity.json` and the golden answers.
The new side is what is committed at HEAD. A rerun with the same `--place` learns only what is not there yet.

What the new side says beside the old one's (further comparisons, further facts) is printed and is no difference; the
exit code is 1 where a number is missing or another.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MODELS = {"popularity": "next_item", "item_knn": "next_item", "sasrec": "next_item", "logistic": "churn",
          "lightgbm": "churn"}  # fmt: skip
EXPORTED = ("popularity", "item_knn", "sasrec", "logistic", "lightgbm")
RUNS = "models/demo_shop/temporal"  # named to each verb: where a commit leaves runs by itself is its own affair
# One thread and a fixed amount of memory, so that the plan of a training is the same whatever else the machine does.
ALWAYS = ("dataset=demo_shop", "tracking=none", "progress=false", "trainer=cpu", "trainer.threads=1",
          "trainer.memory_gib=2", "trainer.precision=fp32")  # fmt: skip
FILES = ("metrics.json", "training.json", "comparisons.json", "leaderboard.json", "sanity.json", "golden.json")
# Times and places, not numbers that a model or a judge arrives at.
NOT_HELD = ("seconds", "validation_seconds", "events_per_s", "commit", "mlflow_run", "command", "path", "trained_at")


def main() -> None:
    """Run both sides and say what differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("old")
    parser.add_argument("--customers", type=int, default=1500)
    parser.add_argument("--place", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        place = (options.place or Path(made)).resolve()
        sides = [run(_commit(name), place, options.customers) for name in (options.old, "HEAD")]
        differences = compare(*sides)
    print("\n".join(differences) or "every number is the same")
    sys.exit(1 if differences else 0)


def run(commit: str, place: Path, customers: int) -> Path:
    """The results of a commit: the folder in which its verbs ran."""
    tree = place / commit[:12]
    if not tree.is_dir():
        packed = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
        tree.mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(tree, filter="data")
    shop = (*ALWAYS, f"dataset.simulate.customers={customers}")
    for model, task in MODELS.items():
        run = f"{RUNS}/{task}/{model}"
        words = (f"model={model}", f"hydra.run.dir={run}", *(("trainer.max_epochs=2",) if model == "sasrec" else ()))
        _verb(tree, f"{run}/manifest.json", "train", *shop, *words)
    among = ",".join(f"{RUNS}/{task}/{model}" for model, task in MODELS.items())
    _verb(tree, "reports/demo_shop/temporal/manifest.json", "evaluate", *ALWAYS, f"runs=[{among}]")
    for model in EXPORTED:
        to = ("run=" + f"{RUNS}/{MODELS[model]}/{model}", f"name={model}", "golden=30")
        _verb(tree, f"exports/{model}/manifest.json", "export", *ALWAYS[:3], *to)
    return tree


def _verb(tree: Path, leaves: str, verb: str, *words: str) -> None:
    """Run a verb in a commit's folder, with its own source, unless what it leaves is there."""
    if (tree / leaves).is_file():
        return
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, f"{verb}.py", *words], cwd=tree, env=environment, capture_output=True,
                          text=True, check=False)  # fmt: skip
    print(f"{tree.name} {verb} {leaves}: {'done' if done.returncode == 0 else 'FAILED'}", flush=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])


def compare(old: Path, new: Path) -> list[str]:
    """A line for each value of the old side that the new one has not, or has as another."""
    found, held, more = [], 0, []
    for place in (RUNS, "reports/demo_shop/temporal", "exports"):
        for path in sorted(p for p in (old / place).rglob("*.json") if p.name in FILES):
            name = path.relative_to(old)
            if not (new / name).is_file():
                found.append(f"{name}: missing")
                continue
            ours, theirs = (dict(values(json.loads((side / name).read_text("utf-8")))) for side in (old, new))
            held += len(ours)
            found += [f"{name}: {key} was {value!r}, is {theirs.get(key)!r}" for key, value in ours.items()
                      if key not in theirs or theirs[key] != value]  # fmt: skip
            more += [f"{name}: {key}" for key in theirs.keys() - ours.keys()]
    print(f"{held} values held against each other; {len(more)} that the old side did not say")
    kinds = sorted({f"  new: {line.rpartition('.')[2] if line.count('.') > 1 else line}" for line in more})
    print("\n".join(kinds[:60]))
    return found


def values(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf with its dotted key; of a list of comparisons by the names that are compared, not by place."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name not in NOT_HELD:
                yield from values(value, f"{key}.{name}")
    elif isinstance(node, list):
        for place, value in enumerate(node):
            named = isinstance(value, dict) and {"metric", "a", "b"} <= value.keys()
            yield from values(value, f"{key}[{value['metric']}: {value['a']}, {value['b']}]" if named
                              else f"{key}[{place}]")  # fmt: skip
    else:  # golden requests are called as in bundles since format 3, whichever format they are of
        yield key.replace(".expected.items[", ".expected[").replace("].events[", "].history["), node


def _commit(name: str) -> str:
    found = subprocess.run(["git", "rev-parse", f"{name}^{{commit}}"], cwd=ROOT, capture_output=True, text=True,
                           check=False)  # fmt: skip
    if found.returncode:
        sys.exit(f"there is no commit {name}")
    return found.stdout.strip()


if __name__ == "__main__":
    main()
