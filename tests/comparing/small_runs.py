"""Two models trained on a log of cycles, and the report of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.evaluation.table import summarise
from shopkeeper.models.fit import Fit
from shopkeeper.models.make import make
from shopkeeper.pipeline.evaluate import evaluate_runs
from shopkeeper.pipeline.runs import RunFolder, write_run
from shopkeeper.pipeline.told import Evaluate, settings

Data = tuple[Prepared, Split]


KNN = {"neighbours": 10, "shrinkage": 1.0, "half_life_events": 0.5, "half_life_days": None, "self_similarity": None}


MODELS: dict[str, dict[str, Any]] = {
    "popularity": {"half_life_days": None, "relative_to": "cutoff", "event_weights": None},
    "item_knn": {**KNN, "event_weights": None},
}


def trained(
    data: Data,
    folder: Path,
    name: str,
    seed: int = 1,
    split_name: str = "leave_one_out",
    told: dict[str, str] | None = None,
    plan: dict[str, Any] | None = None,
) -> RunFolder:
    """A finished run, as `train` leaves it."""
    prepared, split = data
    of_model = yaml.safe_load((Path("conf/model") / f"{name}.yaml").read_text(encoding="utf-8")) | MODELS[name]
    config = {
        "model": of_model,
        "task": {"name": "next_item", "headline": "ndcg@10"},
        "dataset": {"name": "tiny", "filter_seen": False},
        "split": {"name": split_name},
        "trainer": {"plan": plan or {}},
        "seed": seed,
        "init_from": None,
    }
    model = make(of_model)
    model.fit(prepared, split, Fit(seed=seed, progress=False))
    table = evaluate_requests(model, split, "test", metadata={"model": name, "seed": seed, **(told or {})})
    about = {"dataset": "tiny", "split": split_name, "protocol": split.protocol, "task": "next_item", "model": name}
    metrics = {**about, "seed": seed, "filter_seen": False, "target_hash": split.target_hash()}
    metrics["test"] = summarise(table, resamples=50)
    facts = {"prepared": str(prepared.path), "dataset_fingerprint": prepared.fingerprint, "split": split.name}
    return write_run(folder, config, model, metrics, {"test": table}, facts)


def evaluated(
    runs: list[RunFolder], out: Path, models: Path | None = None, confidence: float = 0.95, **report: Any
) -> dict[str, Any]:
    """`sanity.json` of the recommenders; the whole report lies in `out`."""
    cfg = {
        "dataset": {"name": "tiny"},
        "split": {"name": "leave_one_out"},
        "paths": {"runs": str(models or out.parent / "none")},
        "evaluation": {"confidence": confidence, "resamples": 50, "smallest_effect": 0.003},
        "report": {"customers": 2, "baseline": "popularity", "resamples": 50, **report},
        "tracking": {"name": "none"},
    }
    evaluate_runs(settings(cfg, Evaluate), runs, out)
    found: dict[str, Any] = json.loads((out / "sanity.json").read_text(encoding="utf-8"))["next_item"]
    return found
