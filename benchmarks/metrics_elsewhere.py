"""One small table, judged by this project and by seven libraries: where do metrics of the same name differ?

    python benchmarks/metrics_elsewhere.py

Ten customers, six items, lists of three. Each customer is a case in which definitions may part: a repeated purchase,
more to find than places, a short list, ties, nobody asked. Every library runs in an environment of its own
(`.venv-<library>`, made where it is missing), called as its documentation says, with no option but the cut-off
(`metric_peers.py`). Writes `benchmarks/results/metrics_elsewhere.json`; the site's page is made from it.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from _results import row, write_result
from _training import environment
from shopkeeper.metrics.ranker import rank_scores
from shopkeeper.metrics.ranking import compute
from shopkeeper.metrics.ranks import Flat, Hits

K, ITEMS = 3, ["a", "b", "c", "d", "e", "f"]
METRICS = ("ndcg", "recall", "precision", "hit", "mrr", "map")
LIST = [["a", 0.9], ["b", 0.8], ["c", 0.7]]
TIED = [["a", 0.9], ["b", 0.9], ["c", 0.9]]
CASES: dict[str, tuple[str, list[list[Any]] | None, list[str]]] = {  # customer: in words, their list, what they took
    "u1": ("takes the first item of the list", LIST, ["a"]),
    "u2": ("takes the second", LIST, ["b"]),
    "u3": ("takes the first, and one that is not in the list", LIST, ["a", "e"]),
    "u4": ("takes all three of the list, and a fourth item", LIST, ["a", "b", "c", "d"]),
    "u5": ("takes the first item, twice (two rows)", LIST, ["a", "a"]),
    "u6": ("takes the only item of a list that is too short", [["a", 0.9]], ["a"]),
    "u7": ("takes an item and has no list", None, ["a"]),
    "u8": ("takes the first of three items with one score", TIED, ["a"]),
    "u9": ("takes the last of three items with one score", TIED, ["c"]),
    "u10": ("takes nothing", LIST, []),
}
PEERS = {"rectools": "rectools", "replay": "replay", "recbole": "recbole", "lenskit": "lenskit", "implicit": "ranking",
         "ranx": "ranking", "ir_measures": "ranking"}  # fmt: skip
"""Library -> the environment that it lies in."""


def table() -> dict[str, Any]:
    lists = {user: given for user, (_, given, _) in CASES.items() if given is not None}
    return {"k": K, "items": ITEMS, "lists": lists, "taken": {user: taken for user, (_, _, taken) in CASES.items()}}


def ours() -> dict[str, dict[str, Any]]:
    """By the ranker and the formulas that every evaluation here uses; candidates are the items of the list."""
    score = np.zeros((len(CASES), len(ITEMS) + 1), np.float32)
    lists = [[(ITEMS.index(i) + 1, s) for i, s in given or []] for _, given, _ in CASES.values()]
    for place, entries in enumerate(lists):
        for item, value in entries:
            score[place, item] = value
    targets = Flat.of([[ITEMS.index(i) + 1 for i in taken] for _, _, taken in CASES.values()])
    ranked = rank_scores(score, targets, candidates=Flat.of([[i for i, _ in entries] for entries in lists]))
    hits = Hits.of(ranked, targets.offsets, targets.item)
    found = {}
    for name in METRICS:
        value = compute(hits, f"{name}@{K}")
        each = {user: float(v) for user, v in zip(CASES, value, strict=True)}
        found[name] = {"each": each, "mean": float(np.nanmean(value))}
    return found


def theirs(library: str) -> dict[str, Any]:
    python = environment(PEERS[library])
    if python is None:
        raise SystemExit(f"the environment of {library} could not be made; see requirements in _training.py")
    script = str(Path(__file__).with_name("metric_peers.py"))
    done = subprocess.run([str(python), script, library], input=json.dumps(table()), capture_output=True, text=True,
                          env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}, check=False)  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{library}: {done.stderr.strip().splitlines()[-1]}")
    said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return said


def rows_of(system: str, values: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per metric: its mean over whom the library takes it."""
    return [row(*names_of(system, metric), f"@{K}", [of["mean"]]) for metric, of in values.items()]


def names_of(system: str, metric: str) -> tuple[str, str, str]:
    """Who, about what, which figure: `ndcg, option=…` is the library's figure with an option set."""
    name, _, how = metric.partition(", ")
    return f"{system}, {how}" if how else system, "ten customers", f"{name}, mean"


def each_of(system: str, values: dict[str, dict[str, Any]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """System -> metric -> customer -> value; null where the library gives no number."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for metric, of in values.items():
        who, _, name = names_of(system, metric)
        each = {user: of["each"].get(user) for user in CASES}
        finite = {user: v if v is not None and math.isfinite(v) else None for user, v in each.items()}
        found.setdefault(who, {})[name.removesuffix(", mean")] = finite
    return found


def main() -> None:
    versions: dict[str, str] = {}
    rows, each = rows_of("shopkeeper", ours()), each_of("shopkeeper", ours())
    for library in PEERS:
        said = theirs(library)
        rows += rows_of(library, said["values"])
        each |= each_of(library, said["values"])
        versions |= said["versions"]
    cases = [
        {"customer": u, "case": words, "list": given, "taken": taken} for u, (words, given, taken) in CASES.items()
    ]
    more = {"k": K, "cases": cases, "each": each}
    print(write_result("metrics_elsewhere", rows, [], versions=versions, more=more))


if __name__ == "__main__":
    main()
