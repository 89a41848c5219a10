"""The best columns of each row of a tile that lies in blocks, found by looking at the best of each group first.

Shapes: n rows, W columns of a block (a multiple of `GROUP`), G groups of all blocks, k length of the list.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

GROUP = 64  # neighbouring columns of which the best is looked at first


def best_columns(score_bnW: Sequence[torch.Tensor], best_nG: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of each row, best first, equal scores in column order: values float32 and columns int64, (n, k).

    `best_nG`: the highest score of each group. The k best lie in the k groups whose own best is highest, so only those
    are searched. Where more than k scores may reach the k-th value, the choice is made anew by column number: it
    depends on scores alone.
    """
    if best_nG.shape[1] > 2 * k:
        group_nk = best_nG.topk(k, sorted=False).indices
        part = _groups(score_bnW, group_nk)
        value_nk, place = part.topk(k)
        last_n1 = value_nk[:, -1:]
        crowded_n = ((part >= last_n1).float().sum(1) > k) | ((best_nG >= last_n1).float().sum(1) > k)
        column_nk = group_nk.gather(1, place // GROUP) * GROUP + place % GROUP
    else:
        part = torch.cat(list(score_bnW), 1)
        value_nk, column_nk = part.topk(k)
        last_n1 = value_nk[:, -1:]
        crowded_n = (part >= last_n1).float().sum(1) > k
    for some in (crowded_n & (last_n1[:, 0] > -torch.inf)).nonzero()[:, 0].split(64):
        part, edge = torch.cat([score[some] for score in score_bnW], 1), last_n1[some]
        above, same = part > edge, part == edge
        pick = above | (same & (same.cumsum(1) <= k - above.sum(1, keepdim=True)))
        column_nk[some] = pick.nonzero()[:, 1].view(len(some), k)
        value_nk[some] = part.gather(1, column_nk[some])
    column_nk, place = column_nk.sort(1)
    value_nk, place = value_nk.gather(1, place).sort(dim=1, descending=True, stable=True)
    return value_nk.cpu().numpy(), column_nk.gather(1, place).cpu().numpy()


def _groups(score_bnW: Sequence[torch.Tensor], group_nk: torch.Tensor) -> torch.Tensor:
    """The scores of these groups of each row, group by group: (n, k * GROUP)."""
    per_block = score_bnW[0].shape[1] // GROUP
    row = torch.arange(len(group_nk), device=group_nk.device)[:, None]
    cell = (row * per_block + group_nk % per_block).flatten()
    block, order = (group_nk // per_block).flatten().sort(stable=True)
    counts = torch.bincount(block, minlength=len(score_bnW)).tolist()
    parts = zip(score_bnW, cell[order].split(counts), strict=True)
    found = torch.cat([score.view(-1, GROUP).index_select(0, cells) for score, cells in parts])
    return torch.empty_like(found).index_copy_(0, order, found).view(len(group_nk), -1)
