"""NDCG@10 on shops where people buy again: the baselines and the models for repeats, one training each.

    python benchmarks/shops.py                # item statistics frozen at the validation cutoff
    python benchmarks/shops.py --refit        # trained anew until the test cutoff, demand until the night before

Each row is `python train.py dataset=… model=… evaluation.refit=…` with the settings that are shipped; test is looked at
once. Values are the mean on test with the bounds of its 95 % interval by customer.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _results import ROOT, at_least, row, write_result

MODELS = (
    "popularity", "recent_popularity", "recency", "personal_frequency", "item_knn", "ease", "tifu_knn", "item_to_item",
    "up_cf", "buy_it_again", "ials", "bpr", "slim", "user_knn", "vsknn", "vstan", "two_stage",
)  # fmt: skip
NIGHTLY = {"two_stage": ("model.item_statistics=nightly",)}  # beside --refit
REQUIRED = {("online_retail", False): 0.290, ("online_retail", True): 0.300, ("demo_shop", False): 0.335}


def main(datasets: list[str], refit: bool) -> None:
    rows: list[dict[str, Any]] = []
    best: dict[str, float] = {}
    for dataset in datasets:
        for model in MODELS:
            with tempfile.TemporaryDirectory() as place:
                run = Path(place) / "run"
                words = [f"dataset={dataset}", f"model={model}", f"evaluation.refit={str(refit).lower()}"]
                words += NIGHTLY.get(model, ()) if refit else ()
                command = [sys.executable, "train.py", *words, "tracking=none", f"hydra.run.dir={run}"]
                subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
                metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
            for part in ("validation", "test"):
                found = metrics[part]["ndcg@10"]
                rows.append(row(model, dataset, f"{part} ndcg@10", "", [found["value"]])
                            | {"low": found["low"], "high": found["high"], "n": found["n"]})  # fmt: skip
            print(f"{dataset} {model}: {metrics['test']['ndcg@10']['value']:.4f}", flush=True)
            best[dataset] = max(best.get(dataset, 0.0), metrics["test"]["ndcg@10"]["value"])
    kept = (
        "refitted until the test cutoff, demand until the night before" if refit else "statistics frozen at the cutoff"
    )
    claims = [
        at_least("shops", f"{dataset}, best model's NDCG@10 on test, {kept}", value, REQUIRED[dataset, refit])
        for dataset, value in best.items()
        if (dataset, refit) in REQUIRED
    ]
    write_result("shops_refit" if refit else "shops", rows, claims)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=["online_retail", "demo_shop"])
    parser.add_argument("--refit", action="store_true")
    main(**vars(parser.parse_args()))
