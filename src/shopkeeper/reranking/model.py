"""A recommender whose lists are put in another order: to be asked what that costs, or gains.

Shapes: B requests, V = n_items + 1 columns, N candidates of each, K list length.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.features.candidates import Reached, best_items
from shopkeeper.metrics.best import best_columns
from shopkeeper.models.about import LISTS, About
from shopkeeper.reranking.facts import merged
from shopkeeper.reranking.known import facts_of
from shopkeeper.reranking.lists import Lists
from shopkeeper.reranking.steps import Asked, in_order, steps_of

CELLS_AT_ONCE = 20_000_000  # of scores
AT_ONCE = 4_096  # requests, where no score has a cell for every item


class Reranked:
    """A trained recommender with steps behind it.

    Args:
        model: it.
        steps: what is done to its lists, one after another, as `steps.steps_of` reads it.
        split: says which items may be shown.
        filter_seen: whether items of the history may not be.
        candidates: N, the model's best that are put in order.
        where: the settings' place, which begins messages.

    Raises:
        UserError: a step that there is not, a setting out of range, an attribute that items lack.
    """

    def __init__(
        self, model: Any, steps: Any, split: Split, filter_seen: bool, candidates: int = 100, where: str = "rerank"
    ):
        if isinstance(candidates, bool) or not isinstance(candidates, int) or candidates < 1:
            raise UserError(f"{where}.candidates is {candidates!r:.80}; give a whole number from 1")
        self.model, self.steps, self.candidates = model, steps_of(steps, f"{where}.steps"), candidates
        self.filter_seen = filter_seen
        until = (split.timeline.get("cutoffs") or {}).get("validation", {}).get("us")
        self.facts = facts_of(split.prepared, merged(step.needs for step in self.steps), until)
        self.catalogue = np.asarray(split.catalogue)
        self.shown_V = np.zeros(split.prepared.n_items + 1, bool)
        self.shown_V[self.catalogue] = True

    @property
    def about(self) -> About:
        """The model's own, with lists for an answer; a step that counts days until the request reads its instant."""
        instant = self.model.about.reads_instant or any(kind == "ages" for step in self.steps for kind, _ in step.needs)
        reason = "a bundle answers with the model's own order; rerank is not in it"
        return replace(self.model.about, answers=LISTS, reads_instant=instant, not_exported=reason)

    def recommend(self, requests: Requests, k: int) -> np.ndarray:
        """Internal ids int32 (B, K), best first; 0 where there are no more."""
        item_BK = np.zeros((len(requests), k), np.int32)
        if self.model.about.reaches and not self.steps and requests.candidates is None:
            for first in range(0, len(requests), AT_ONCE):
                item_BK[first : first + AT_ONCE] = self._reached(requests[first : first + AT_ONCE], k)
            return item_BK
        step = max(1, CELLS_AT_ONCE // len(self.shown_V))
        for first in range(0, len(requests), step):
            part = requests[first : first + step]
            found = in_order(
                self._candidates(part, max(k, self.candidates)),
                self.steps,
                Asked(part, self.facts, k, self.filter_seen),
            )
            item_BK[first : first + len(part), : found.shape[1]] = found
        return item_BK

    def taken_out(self, request: Requests, k: int) -> list[tuple[str, int]]:
        """Of one request: how many candidates there are ("candidates"), and how many each step takes out, by name."""
        lists = self._candidates(request, max(k, self.candidates))
        left = int((lists.item > 0).sum())
        told, asked = [("candidates", left)], Asked(request, self.facts, k, self.filter_seen)
        for step in self.steps:
            before, lists = left, step(lists, asked)
            left = int((lists.item > 0).sum())
            told.append((type(step).__name__.lower(), before - left))
        return told

    def save(self, folder: Path) -> None:
        """Write the model; the steps stand in the run's settings."""
        self.model.save(folder)

    def _reached(self, requests: Requests, k: int) -> np.ndarray:
        """The same of a model that reaches few items, without a cell for every item: int32 (B, k)."""
        hidden = requests.hidden(self.filter_seen)
        more = 0 if hidden is None else int(np.diff(hidden[0]).max(initial=0))
        scored = Reached(self.model.reached(requests), self.model.rest_V)
        best_BN = best_items(scored, self.shown_V, min(k + more, len(self.catalogue)))
        kept = np.ones(best_BN.shape, bool)
        if hidden is not None:
            V = len(self.shown_V)
            gone = np.repeat(np.arange(len(requests)), np.diff(hidden[0])) * V + hidden[1]
            kept = ~np.isin(best_BN + np.arange(len(requests))[:, None] * V, gone)
        order = np.argsort(~kept, axis=1, kind="stable")[:, :k]
        found = np.where(np.take_along_axis(kept, order, 1), np.take_along_axis(best_BN, order, 1), 0)
        return np.pad(found, ((0, 0), (0, k - found.shape[1]))).astype(np.int32)

    def _candidates(self, requests: Requests, n: int) -> Lists:
        if self.model.about.answers == LISTS:
            item_BN = np.asarray(self.model.recommend(requests, n), np.int32)
            return Lists.of(item_BN, np.broadcast_to(-np.arange(item_BN.shape[1], dtype=np.float64), item_BN.shape))
        scores_BV = np.where(self.shown_V, self.model.score(requests), -np.inf)
        if requests.candidates is not None:
            offsets, items = requests.candidates
            open_BV = np.zeros(scores_BV.shape, bool)
            open_BV[np.repeat(np.arange(len(requests)), np.diff(offsets)), items] = True
            scores_BV = np.where(open_BV, scores_BV, -np.inf)
        if (hidden := requests.hidden(self.filter_seen)) is not None:
            scores_BV[np.repeat(np.arange(len(requests)), np.diff(hidden[0])), hidden[1]] = -np.inf
        n = min(n, len(self.catalogue))
        best_BN = best_columns(scores_BV, n)  # in the model's order, also where `Lists` rounds two scores to one value
        return Lists.of(best_BN.astype(np.int32), np.take_along_axis(scores_BV, best_BN, axis=1))
