"""Which file says how a model is written as a graph. A new family: one file here with `scorer(model, split)`, one line.

The table holds names, so that exporting one family imports no other.
"""

from __future__ import annotations

import importlib
from typing import Any

from shopkeeper.bundles.write.arrays import FAMILIES as ARRAYS
from shopkeeper.bundles.write.ranking import RankingGraph, Scorer
from shopkeeper.data.prepared import Prepared, Split
from shopkeeper.errors import UserError

SCORERS = {
    "Popularity": "shopkeeper.bundles.write.popularity",
    "ItemKNN": "shopkeeper.bundles.write.item_knn",
    "SASRec": "shopkeeper.bundles.write.sasrec",
}


def scorer_of(model: Any, prepared: Prepared, split: Split) -> Scorer:
    """How the model scores, as a torch module with its fallback and limits.

    Raises:
        UserError: the family cannot be exported yet, or the model reads the request's instant.
    """
    family = type(model).__name__
    if reason := model.about.not_exported:
        raise UserError(f"{family} models are not exported: {reason}; export another model")
    if family not in SCORERS:
        raise UserError(
            f"{family} models cannot be exported yet; families that can: {', '.join(sorted({*SCORERS, *ARRAYS}))} "
            f"(add a file to shopkeeper/bundles/write and a line to bundles/write/graphs.py)"
        )
    if model.about.reads_instant:
        raise UserError(
            f"this {family} reads the instant of the request, which a bundle does not carry yet; export another model"
        )
    scorer: Scorer = importlib.import_module(SCORERS[family]).scorer(model, prepared, split)
    return scorer


def graph_of(model: Any, prepared: Prepared, split: Split, k: int = 10) -> RankingGraph:
    """The whole graph of a trained model: `forward(history_BL, event_type_BL, exclude_BS) -> (items_BK, scores_BK)`."""
    return RankingGraph(scorer_of(model, prepared, split), split.catalogue, prepared.n_items, k).eval()
