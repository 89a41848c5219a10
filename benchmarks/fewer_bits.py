"""What a bundle in fewer bits, in two steps or with an index costs in NDCG, with the interval of the difference.

    python benchmarks/fewer_bits.py --note "…"     # minutes on one core

In a new folder the verbs of the pipeline prepare each dataset, train SASRec for a few epochs and export it; `shopkeeper
target` writes each form and asks it and the exact bundle the run's test requests, paired by customer. Of each form: the
difference in NDCG@10, how much of the exact golden lists its lists share, and the bytes of its graph. Writes
`benchmarks/results/fewer_bits.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _results import ROOT, at_least, row, write_result

FORMS = ("int8", "fp16", "two_steps", "faiss", "usearch")
MATTERS = 0.003  # smallest difference of NDCG that `evaluate` calls one
SPLIT = {"demo_shop": "temporal", "ml_100k": "leave_one_out"}


def verb(folder: Path, *words: str) -> None:
    """Run a verb there; its complaint ends this, too."""
    told = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-m", "shopkeeper", *words], cwd=folder, env=told, check=True)


def costs(dataset: str, epochs: int, folder: Path) -> dict[str, dict[str, Any]]:
    """What the manifest of each form says: `cost`, the overlap of golden lists, bytes of the graph or index."""
    here = (f"dataset={dataset}", f"split={SPLIT[dataset]}")
    verb(folder, "prepare", *here)
    verb(folder, "train", "model=sasrec", f"model.epochs={epochs}", *here, "tracking=none")
    verb(folder, "export", "run=sasrec", *here, "name=exact", "tracking=none")
    found = {}
    for kind in FORMS:
        verb(folder, "target", kind, "exports/exact", "--to", kind, "--of", "sasrec")
        manifest = json.loads((folder / kind / "manifest.json").read_text(encoding="utf-8"))
        if "variant" in manifest:
            told, kept = manifest["variant"], manifest["variant"]["golden"]["overlap"]
        else:
            told, kept = manifest["index"], manifest["index"]["recall"]["golden"]
        size = sum((folder / kind / name).stat().st_size for name in ("model.onnx", "index.faiss", "index.usearch")
                   if (folder / kind / name).is_file())  # fmt: skip
        found[kind] = {**told["cost"], "kept": kept, "bytes": size}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", nargs="+", choices=list(SPLIT), default=list(SPLIT))
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--note", help="what a reader of the result must know")
    a = parser.parse_args()
    rows, claims = [], []
    for dataset in a.dataset:
        with tempfile.TemporaryDirectory() as folder:
            found = costs(dataset, a.epochs, Path(folder))
        for kind, cost in found.items():
            low, high = (0.0 if cost[end] is None else cost[end] for end in ("low", "high"))  # None: the same for all
            interval = {"low": low, "high": high, "n": cost["n"], "n_users": cost["n_users"]}
            said = f"sasrec as {kind}"
            rows.append(row(said, dataset, "ndcg@10", "", [cost["value"]]) | {"exact": cost["exact"]})
            rows.append(row(said, dataset, "ndcg@10 less the exact bundle's", "", [cost["difference"]]) | interval)
            rows.append(row(said, dataset, "share of the exact golden lists that it keeps", "", [cost["kept"]]))
            rows.append(row(said, dataset, "graph and index", "bytes", [cost["bytes"]]))
            what = f"{dataset}: NDCG@10 of {kind} less the exact bundle's, lower end of the interval"
            claims.append(at_least("handover", what, low, -MATTERS))
    write_result("fewer_bits", rows, claims, note=a.note)


if __name__ == "__main__":
    main()
