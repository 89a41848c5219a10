"""The graph that every exported recommender shares: histories in, the best k items and their scores out.

A model only says how it scores (`Program.module`); catalogue, items to leave out, fallback and top-k are here.

Shapes: B requests, L positions, S items to leave out, V = n_items + 1 columns (0 is padding), K list length.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from shopkeeper.bundles.answer.graph import CLOSED
from shopkeeper.bundles.write.onnx_file import Graph, Takes
from shopkeeper.programs.base import Program


class RankingGraph(Graph):
    """`forward(history_BL, event_type_BL, exclude_BS, *others_BL) -> (items_BK, scores_BK)`.

    `history_BL`: internal ids int64, oldest first, padded with 0 on the left; `event_type_BL`: their codes int64, 0
    where padded. `exclude_BS`: internal ids int64 that may not be shown (seen items, what lies in the basket), padded
    with 0 anywhere. `others_BL`: the program's `inputs`, float32, padded as the history; behind them, where the program
    scores own items apart, `own_BS` and `own_score_BS`: these items, int64, and their scores, float32, padded with 0.

    `closes`: `CLOSED`, what is in the catalogue, may be given, too, e.g. one category alone; who has no history gets
    the fallback of the whole catalogue all the same.

    Best first; where fewer than K items may be shown, the rest has item 0 and score -inf. Equal
    scores: the lower internal id first (ONNX Runtime; torch leaves that order open).
    """

    takes: ClassVar[Takes] = {
        "history": (torch.int64, "BL"),
        "event_type": (torch.int64, "BL"),
        "exclude": (torch.int64, "BS"),
    }
    gives: tuple[str, ...] = ("items", "scores")

    fallback_V: Tensor
    closed_V: Tensor

    def __init__(self, program: Program, catalogue: np.ndarray, n_items: int, k: int, closes: bool = False):
        super().__init__()
        if closes:
            self.may_take = (CLOSED,)
        self.scorer, self.inputs = program.module, program.inputs
        self.own_scored, self.near = program.own_scored, 0.0
        if program.own is not None:
            self.near = float(program.own.get("near", [0.0])[0])  # how much of an own item's score it keeps
            self.beside = {"own": (torch.int64, "BO"), "own_score": (torch.float32, "BO")}
        self.k = min(k, len(catalogue))
        self.has_fallback = program.fallback is not None
        fallback = np.zeros(n_items + 1, np.float32) if program.fallback is None else program.fallback
        closed = np.full(n_items + 1, -np.inf, np.float32)
        closed[catalogue] = 0
        self.register_buffer("fallback_V", torch.from_numpy(fallback.astype(np.float32) + closed))
        self.register_buffer("closed_V", torch.from_numpy(closed))

    def forward(
        self, history_BL: Tensor, event_type_BL: Tensor, exclude_BS: Tensor, *others_BL: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Best first."""
        if self.beside:
            *others, own_BS, own_score_BS = others_BL
            scores_BV = self.scorer(history_BL, event_type_BL, *others)
            if self.own_scored:
                scores_BV, copied_BV = scores_BV
                own_BV = torch.zeros_like(scores_BV).scatter(1, own_BS, 1.0) > 0
                scores_BV = torch.where(own_BV, copied_BV, scores_BV)
            else:
                own_score_BS = own_score_BS + self.near * scores_BV.gather(1, own_BS)
                scores_BV = scores_BV.scatter(1, own_BS, own_score_BS)
        else:
            scores_BV = self.scorer(history_BL, event_type_BL, *others_BL)
        scores_BV = scores_BV + self.closed_V  # right behind a product of matrices it costs nothing
        if self.has_fallback:
            known_B1 = (history_BL > 0).any(dim=1, keepdim=True)
            scores_BV = torch.where(known_B1, scores_BV, self.fallback_V)
        scores_BV = scores_BV.scatter(1, exclude_BS, float("-inf"))
        scores_BK, items_BK = torch.topk(scores_BV, self.k, dim=1)
        return torch.where(torch.isinf(scores_BK), 0, items_BK), scores_BK
