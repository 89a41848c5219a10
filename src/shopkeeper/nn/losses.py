"""Losses over drawn negatives, for catalogues whose full softmax (softmax.py) costs too much.

The negatives of a step are drawn on the device and shared by all its positions; where one of them is a position's own
label, or as `Loss.leave_out` says any item of its sequence, it is left out there.

Shapes: N positions, D width, V classes (items), C negatives.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 (the field's own abbreviation)
from torch import Tensor

from shopkeeper.nn.loss_settings import Loss


class Negatives:
    """Draws classes on the device, the same ones for the same seed, whatever the micro-batch or the process."""

    def __init__(self, loss: Loss, n_classes: int, count_V: Tensor | None):
        self.n, self.n_classes = loss.negatives, n_classes
        self.cumulative_V: Tensor | None = None
        self.log_q_V: Tensor | None = None
        if loss.draw == "popularity":
            assert count_V is not None
            count_V = count_V.cpu()  # cumulative sums on a GPU are not the same bits run to run
            share_V = count_V.double() / count_V.sum()
            self.cumulative_V, self.log_q_V = share_V.cumsum(0), share_V.log().float()

    def draw(self, seed: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Classes int64 (C,), with replacement, and the logarithm of the chance to draw each: float32 (C,)."""
        generator = torch.Generator(device).manual_seed(seed)
        if self.cumulative_V is None or self.log_q_V is None:
            class_C = torch.randint(self.n_classes, (self.n,), generator=generator, device=device)
            return class_C, torch.full((self.n,), -math.log(self.n_classes), device=device)
        if self.cumulative_V.device != device:
            self.cumulative_V, self.log_q_V = self.cumulative_V.to(device), self.log_q_V.to(device)
        point_C = torch.rand(self.n, dtype=torch.float64, generator=generator, device=device)
        # right: a class that is never a label has no width, and is never drawn
        class_C = torch.searchsorted(self.cumulative_V, point_C, right=True).clamp_max(self.n_classes - 1)
        return class_C, self.log_q_V[class_C]


def sampled_loss(
    h_ND: Tensor,
    own_ND: Tensor,
    other_CD: Tensor,
    own_N: Tensor,
    other_C: Tensor,
    log_q_C: Tensor,
    loss: Loss,
    n_classes: int,
    taken_NC: Tensor | None = None,
) -> Tensor:
    """Sum over positions, float32. `own_ND`, `other_CD`: embeddings of the labels `own_N` and the negatives `other_C`.
    `taken_NC` (bool): what is no negative there beside the label.

    With the score r of the label, s of a negative, and means over the negatives of a position:
    `sampled_softmax`: -log(e^r / (e^r + sum e^(s - log(C q)))).
    `bce`: -log sigmoid(r) - mean log(1 - sigmoid(s)), as in SASRec.
    `gbce`: (-b log sigmoid(r) - sum log(1 - sigmoid(s))) / (C + 1), where b = a (t (1 - 1/a) + 1/a) undoes that only a
    share a = C / (V - 1) of the others is drawn (Petrov & Macdonald, RecSys 2023, arXiv:2308.07192; t = `calibration`).
    `bpr`: mean -log sigmoid(r - s) (Rendle et al., UAI 2009).
    `top1`: mean (sigmoid(s - r) + sigmoid(s^2)) (Hidasi et al., ICLR 2016, arXiv:1511.06939).
    `bpr_max`: -log sum w sigmoid(r - s) + `regularisation` sum w s^2, where w is the softmax of the negatives' scores
    (Hidasi & Karatzoglou, CIKM 2018, arXiv:1706.03847).
    """
    logit_N = (h_ND * own_ND).sum(-1, dtype=torch.float32)
    logit_NC = (h_ND @ other_CD.T).float()
    if loss.logq and loss.name == "sampled_softmax":
        logit_NC = logit_NC - (log_q_C + math.log(len(other_C)))
    itself_NC = own_N[:, None] == other_C
    if taken_NC is not None:
        itself_NC = itself_NC | taken_NC
    logit_NC = logit_NC.masked_fill(itself_NC, -torch.inf)
    if loss.name == "sampled_softmax":
        loss_N = torch.logsumexp(torch.cat([logit_N[:, None], logit_NC], 1), 1) - logit_N
        if loss.smoothing:
            mean_N = (logit_N + logit_NC.masked_fill(itself_NC, 0).sum(1)) / (1 + (~itself_NC).sum(1))
            loss_N = loss_N + loss.smoothing * (logit_N - mean_N)
        return loss_N.sum()
    if loss.name == "bpr_max":
        return _bpr_max(logit_N, logit_NC, itself_NC, loss.regularisation)
    count_N = (~itself_NC).sum(1)
    if loss.name == "gbce":
        share = min(len(other_C) / max(n_classes - 1, 1), 1.0)
        beta = share * (loss.calibration * (1 - 1 / share) + 1 / share)
        return ((beta * F.softplus(-logit_N) + F.softplus(logit_NC).sum(1)) / (count_N + 1)).sum()
    count_N = count_N.clamp_min(1)
    if loss.name == "bpr":
        return (F.softplus(logit_NC - logit_N[:, None]).sum(1) / count_N).sum()
    if loss.name == "top1":
        square_NC = torch.sigmoid(logit_NC.masked_fill(itself_NC, 0).square()).masked_fill(itself_NC, 0)
        return ((torch.sigmoid(logit_NC - logit_N[:, None]) + square_NC).sum(1) / count_N).sum()
    return (F.softplus(-logit_N) + F.softplus(logit_NC).sum(1) / count_N).sum()


def smoothed(h_ND: Tensor, item_VD: Tensor, label_N: Tensor, first: int) -> Tensor:
    """What a share of 1 for all classes alike adds to the full softmax's sum of -log p(label): float32.

    That is h (w_label - mean of w), since the rest of both logarithms is the same; linear, so no logits are needed.
    Classes are the rows of `item_VD` from `first` on.
    """
    own_ND = F.embedding(label_N + first, item_VD)
    return (h_ND.float() * (own_ND - item_VD[first:].mean(0))).sum()


def of_sequence(
    other_C: Tensor, item_P: Tensor, own_N: Tensor, row_P: Tensor, row_N: Tensor, n_sequences: int
) -> Tensor:
    """Which drawn items stand in a label's own sequence, as a position or as a label: bool (N, C).

    Items of the draws `other_C`, of positions `item_P` and of labels `own_N`, and which sequence these are of.
    """
    drawn_U, place_C = torch.unique(other_C, return_inverse=True)
    item, row = torch.cat([item_P, own_N]), torch.cat([row_P, row_N])
    place = torch.searchsorted(drawn_U, item).clamp_max(len(drawn_U) - 1)
    found = drawn_U[place] == item
    has_BU = torch.zeros(n_sequences, len(drawn_U), dtype=torch.bool, device=item.device)
    has_BU[row[found], place[found]] = True
    return has_BU[row_N][:, place_C]


def _bpr_max(logit_N: Tensor, logit_NC: Tensor, itself_NC: Tensor, regularisation: float) -> Tensor:
    """BPR-max; a position that has no negative but its own label says nothing."""
    alone_N = itself_NC.all(1)
    score_NC = logit_NC.masked_fill(itself_NC, 0)
    log_w_NC = torch.log_softmax(logit_NC.masked_fill(alone_N[:, None], 0), 1)
    better_N = torch.logsumexp(log_w_NC + F.logsigmoid(logit_N[:, None] - score_NC), 1)
    size_N = (log_w_NC.exp() * score_NC.square()).sum(1)
    return (regularisation * size_N - better_N).masked_fill(alone_N, 0).sum()
