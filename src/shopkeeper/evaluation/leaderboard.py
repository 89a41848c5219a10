"""Models of one split side by side: best first, who cannot be told from the best, and what a reader must know.

Models that read the request's instant stand on a board of their own: they know more than the others were told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.data.split import Split
from shopkeeper.evaluation.alarms.sanity import checks, missing_baselines
from shopkeeper.evaluation.beyond import rarefaction
from shopkeeper.evaluation.compare import LOWER_IS_BETTER, Comparison, compare_family
from shopkeeper.evaluation.table import metadata_of, summarise


def leaderboard(
    tables: Mapping[str, pa.Table],
    headline: str,
    *,
    split: Split | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    smallest_effect: float = 0.003,
    test: str = "randomisation",
    found: Sequence[Comparison] | None = None,
    summary: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Boards of next-item models by `headline`, as JSON.

    {"headline", "boards": [{"uses_instant", "models": [{"name", "metrics", "like_the_best", "coverage_curve"}]}],
    "comparisons": […], "sanity": {name: checks}, "notes": […]}. `like_the_best`: the comparison with the first model
    of the board does not find that better. All pairs are judged as one family (`family.py`), which also covers that
    the first was chosen for coming out first. Sanity checks need `split`. `found`, `summary`: comparisons (of
    other metrics, too) and figures that are there already; nothing is then resampled.
    """
    facts = {name: metadata_of(table) for name, table in tables.items()}
    if summary is None:
        summary = {name: summarise(table, confidence=confidence, resamples=resamples) for name, table in tables.items()}
    lower = headline.partition("@")[0] in LOWER_IS_BETTER
    options: dict[str, Any] = {
        "confidence": confidence, "resamples": resamples, "smallest_effect": smallest_effect, "test": test,
    }  # fmt: skip
    if found is None:
        found = compare_family(tables, [headline], **options) if len(tables) > 1 else []
    ahead = {frozenset((c.a, c.b)): c.winner for c in found if c.metric == headline}
    boards = []
    for uses_instant in (False, True):
        names = [n for n in tables if bool(facts[n].get("uses_instant")) == uses_instant]
        names.sort(key=lambda n: _order(summary[n][headline]["value"], lower))
        models = [
            {
                "name": name,
                "metrics": summary[name],
                "like_the_best": summary[name][headline]["value"] is not None
                and (name == names[0] or ahead[frozenset((names[0], name))] != names[0]),
                "coverage_curve": _curve(tables[name], facts[name]),
            }
            for name in names
        ]
        if models:
            boards.append({"uses_instant": uses_instant, "models": models})
    sanity = {} if split is None else {name: checks(table, split) for name, table in tables.items()}
    common = set.intersection(*(set(result["warnings"]) for result in sanity.values())) if sanity else set()
    notes = sorted(common)
    notes += [f"{n}: {text}" for n, result in sanity.items() for text in result["warnings"] if text not in common]
    if missing := missing_baselines(list(tables)):
        notes.insert(0, missing)
    return {
        "headline": headline,
        "boards": boards,
        "comparisons": [c.as_dict() for c in found],
        "sanity": sanity,
        "notes": notes,
    }


def _curve(table: pa.Table, facts: Mapping[str, Any]) -> dict[str, list[float]] | None:
    if "top_items" not in table.column_names:
        return None
    return rarefaction(table, int(facts["k"][0]), int(facts["n_catalogue"]))


def _order(value: float | int | None, lower: bool) -> float:
    if value is None:
        return np.inf
    return float(value) if lower else -float(value)
