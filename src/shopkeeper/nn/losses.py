"""Losses over drawn negatives, for catalogues whose full softmax (softmax.py) costs too much.

The negatives of a step are drawn on the device and shared by all its positions; where one of them is a position's own
label it is left out there. Shapes: N positions, D width, V classes (items), C negatives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (the field's own abbreviation)
from torch import Tensor

from shopkeeper.errors import UserError, check, nearest, one_of, whole

NAMES = ("softmax", "sampled_softmax", "bce")


@dataclass(frozen=True)
class Loss:
    """What is minimised (conf/loss/*.yaml). `negatives`, `draw` and `logq` are of no effect on the full softmax.

    `draw`: `uniform` over the catalogue, or `popularity`: in proportion to a class's count as a label.
    `logq`: subtract log(C q) from the logit of a negative that is drawn with probability q, so that the sum over
    negatives is an unbiased estimate of the sum over the catalogue (Bengio & Senécal, 2008; Yi et al., RecSys 2019).
    """

    name: str = "softmax"
    negatives: int = 256
    draw: str = "uniform"
    logq: bool = True

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise UserError(f"loss={self.name} is not known.{nearest(str(self.name), NAMES)}")
        rules = {"negatives": whole(1), "draw": one_of("uniform", "popularity"), "logq": one_of(False, True)}
        check(vars(self), rules, "loss.")

    @classmethod
    def of(cls, values: Mapping[str, Any] | str | Loss) -> Loss:
        """From a name or a resolved config; a `UserError` names an unknown key and its nearest neighbour."""
        if isinstance(values, Loss):
            return values
        if isinstance(values, str):
            return cls(values)
        valid = [f.name for f in fields(cls)]
        for name in values:
            if name not in valid:
                raise UserError(f"loss.{name} is not known.{nearest(name, valid)}")
        return cls(**values)

    def drawn(self, n_classes: int) -> int:
        """How many negatives are drawn; 0: none, all classes count (the full softmax)."""
        whole = self.name == "softmax" or (self.name == "sampled_softmax" and self.negatives >= n_classes)
        return 0 if whole else self.negatives


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
    h_ND: Tensor, own_ND: Tensor, other_CD: Tensor, own_N: Tensor, other_C: Tensor, log_q_C: Tensor, loss: Loss
) -> Tensor:
    """Sum over positions, float32. `own_ND`, `other_CD`: embeddings of the labels `own_N` and the negatives `other_C`.

    `sampled_softmax`: -log(e^own / (e^own + sum over negatives e^(other - log(C q)))).
    `bce`: -log sigmoid(own) - mean over negatives log(1 - sigmoid(other)), as in SASRec.
    """
    logit_N = (h_ND * own_ND).sum(-1, dtype=torch.float32)
    logit_NC = (h_ND @ other_CD.T).float()
    if loss.logq and loss.name == "sampled_softmax":
        logit_NC = logit_NC - (log_q_C + math.log(len(other_C)))
    itself_NC = own_N[:, None] == other_C
    logit_NC = logit_NC.masked_fill(itself_NC, -torch.inf)
    if loss.name == "sampled_softmax":
        return (torch.logsumexp(torch.cat([logit_N[:, None], logit_NC], 1), 1) - logit_N).sum()
    count_N = (~itself_NC).sum(1).clamp_min(1)
    return (F.softplus(-logit_N) + F.softplus(logit_NC).sum(1) / count_N).sum()
