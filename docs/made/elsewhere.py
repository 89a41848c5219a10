"""The tables of the page about other libraries' metrics, from `benchmarks/results/metrics_elsewhere.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from made.markdown import cell

RESULT = Path(__file__).parents[2] / "benchmarks" / "results" / "metrics_elsewhere.json"
TITLES = {"ndcg": "NDCG", "recall": "Recall", "precision": "Precision", "hit": "HitRate", "mrr": "MRR", "map": "MAP"}


def tables() -> str:
    """A table per metric: a line per library, a column per customer; what differs from ours is bold."""
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    users = [case["customer"] for case in result["cases"]]
    lines = []
    for metric, title in TITLES.items():
        lines += [f"### {title}@{result['k']}", "", f"| | {' | '.join(users)} | mean |",
                  f"|---|{'---:|' * (len(users) + 1)}"]  # fmt: skip
        ours = _values(result, "shopkeeper", metric)
        for system in result["each"]:
            if metric in result["each"][system]:
                theirs = _values(result, system, metric)
                cells = [_number(value, mine) for value, mine in zip(theirs, ours, strict=True)]
                lines.append(f"| {cell(system)} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def cases() -> str:
    """Who the customers are."""
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    lines = ["| | the customer | list | takes |", "|---|---|---|---|"]
    for case in result["cases"]:
        given = "none" if case["list"] is None else ", ".join(f"{item} ({score:g})" for item, score in case["list"])
        lines.append(f"| {case['customer']} | {case['case']} | {given} | {', '.join(case['taken']) or 'nothing'} |")
    return "\n".join(lines)


def versions() -> str:
    """Which versions were run."""
    found = json.loads(RESULT.read_text(encoding="utf-8"))["versions"]
    names = ("rectools", "replay-rec", "recbole", "lenskit", "implicit", "ranx", "ir_measures", "pytrec_eval-terrier")
    return ", ".join(f"{name} {found[name]}" for name in names)


def _values(result: dict[str, Any], system: str, metric: str) -> list[float | None]:
    """By customer, and the mean."""
    (mean,) = [r["median"] for r in result["rows"] if (r["system"], r["figure"]) == (system, f"{metric}, mean")]
    return [*result["each"][system][metric].values(), mean]


def _number(value: float | None, ours: float | None) -> str:
    if value is None:
        return "–"
    text = f"{value:.3f}"
    return text if ours is not None and abs(value - ours) < 0.0005 else f"**{text}**"
