"""A small shop with models of known strength, and what `evaluate` hands to a report of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.evaluation.compare import compare_family
from shopkeeper.evaluation.report.gather import gather
from shopkeeper.evaluation.report.words import answer
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.evaluation.rows.labels import customer_table
from shopkeeper.evaluation.rows.slices import add_slices
from shopkeeper.evaluation.seeds import over_seeds, too_few
from shopkeeper.evaluation.settings import Report
from shopkeeper.evaluation.table import KEY, metadata_of, summarise
from shopkeeper.models.about import About
from tiny import DAY

N = 320  # customers


ITEMS = 20


NASTY = "</script><script>alert('x')</script> & <b>Co</b>"


class Told:
    """Scores that know the target of a share of the requests; the rest is popularity."""

    def __init__(self, split: Split, right: np.ndarray, oracle: str = ""):
        self.about = About(oracle=oracle)
        requests, targets = split.part("test")
        self.target = dict(zip(requests.end.tolist(), targets.item.tolist(), strict=True))
        self.right = dict(zip(requests.end.tolist(), right.tolist(), strict=True))

    def score(self, requests: Requests) -> np.ndarray:
        scores_BV = np.tile(-np.arange(ITEMS + 1, dtype=np.float32), (len(requests), 1))
        for b, end in enumerate(requests.end.tolist()):
            if self.right[end]:
                scores_BV[b, self.target[end]] = 1
        return scores_BV


def section(shop: tuple[Prepared, Split], tables: Mapping[str, pa.Table], task: str = "next_item") -> dict[str, Any]:
    """What `pipeline.evaluate` hands over."""
    prepared, split = shop
    headline, lower = ("ndcg@10", False) if task == "next_item" else ("log_loss", True)
    metrics = {}
    for name, table in tables.items():
        about = {"dataset": "tiny", "split": "leave_one_out", "protocol": "published", "task": task, "model": name}
        metrics[name] = {
            **about,
            "seed": 1,
            "filter_seen": False,
            "target_hash": "abc",
            "test": summarise(table, resamples=200),
        }
    found = compare_family(tables, [headline], resamples=200) if len(tables) > 1 else []
    return {
        "task": task,
        "headline": headline,
        "lower_is_better": lower,
        "names": sorted(tables, key=lambda n: metrics[n]["test"][headline]["value"], reverse=not lower),
        "metrics": metrics,
        "tables": dict(tables),
        "comparisons": [c.as_dict() for c in found],
        "configs": {name: {"dataset": {"title": "Tiny shop", "licence": "CC0"}} for name in tables},
        "manifests": {name: {"commit": "0123abc"} for name in tables},
        "prepared": prepared,
        "split": split if task == "next_item" else None,
    }


def recommenders(shop: tuple[Prepared, Split], shares: Mapping[str, float | np.ndarray]) -> dict[str, Any]:
    prepared, split = shop
    n = len(split.part("test")[0])
    tables = {}
    for seed, (name, share) in enumerate(shares.items()):
        right = np.random.default_rng(seed).random(n) < share
        told = Told(split, right, "observable" if name == "oracle_observable" else "")
        table = evaluate_requests(told, split, "test", metadata={"model": name, "seed": 1})
        tables[name] = add_slices(table, prepared, split, "test")
    return section(shop, tables)


def churners(shop: tuple[Prepared, Split]) -> dict[str, Any]:
    prepared, _ = shop
    rng = np.random.default_rng(0)
    risk = rng.random(N)
    label = (rng.random(N) < risk).astype(np.float64)
    rows = np.arange(N, dtype=np.int64)
    features = np.stack([1 + rows % 12, rng.random(N) * 80], axis=1).astype(np.float64)
    cohort = Cohort(
        (rows + 1).astype(np.int32),
        np.full(N, 19_100 * DAY, np.int64),
        features,
        ("orders", "days_since_order"),
        prepared.events,
        prepared.offsets[:-1],
        prepared.offsets[1:],
        np.full(N, 19_200 * DAY, np.int64),
        label,
        30.0,
    )
    about = {"dataset": "tiny", "split": "temporal", "protocol": "strict", "part": "test", "task": "churn", "seed": 1}
    said = {"logistic": risk, "base_rate": np.full(N, label.mean())}
    tables = {n: customer_table(prepared, cohort, Predictions(p), {**about, "model": n}) for n, p in said.items()}
    return section(shop, tables, "churn")


def told(sections: dict[str, Any], task: str) -> str:
    """The answer in plain text."""
    report = gather(sections, Report(resamples=100))
    a = answer(next(b for b in report.boards if b.task == task))
    return re.sub(r"<[^>]+>", "", " ".join([a.headline, *a.paragraphs]))


def with_seeds(shop: tuple[Prepared, Split]) -> dict[str, Any]:
    """Two seeds of the winner, one run each of the others."""
    found = recommenders(shop, {"sasrec#1": 0.70, "sasrec#2": 0.71, "item_knn": 0.4, "popularity": 0.0})
    seeds = of_seeds({s: found["tables"][f"sasrec#{s}"] for s in (1, 2)})
    return {**found, "names": ["sasrec#1", "sasrec#2", "item_knn", "popularity"], "sanity": {"seeds": seeds}}


def of_seeds(tables: Mapping[int, pa.Table]) -> dict[str, Any]:
    told = [t.replace_schema_metadata({KEY: json.dumps({**metadata_of(t), "seed": s})}) for s, t in tables.items()]
    facts = {"seeds": list(tables), "runs": [f"sasrec#{s}" for s in tables], "too_few": too_few(len(tables))}
    return {"sasrec": over_seeds(told, "ndcg@10").as_dict() | facts}
