r"""What is asked of a customer at an instant, answered from a sequence network's vector of the last event before it.

A head is of a kind: a probability (one logit), a count (the logarithm of a Poisson mean), or an amount, which is 0 or
log-normal,

$$P(y = 0) = 1 - p, \qquad \ln y \sim N(\mu, \sigma^2) \text{ else}, \qquad E[y] = p\, e^{\mu + \sigma^2 / 2}$$

(X. Wang, T. Liu and J. Miao, A deep probabilistic model for customer lifetime value prediction, arXiv 1912.07753).
Or it is of a wait in a window that is cut into K equal periods: of each, the hazard $h_k$ that it ends there when it
has lasted until then, so that it ends in period j, or not in the window, with

$$P(j) = h_j \prod_{k < j} (1 - h_k), \qquad S = \prod_k (1 - h_k)$$

(M. Gensheimer and B. Narasimhan, A scalable discrete-time survival model for neural networks, PeerJ 7, 2019). Who did
not order in the window is censored there: that is what S is for, and no wait is made up.

Shapes: J questions (customer, instant), D width, H heads (one per task), W outputs of all heads, K periods.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 (the field's own abbreviation)
from torch import Tensor, nn

from shopkeeper.nn.days import Days

PERIODS = 24  # of a window in which a wait may end
OUTPUTS = {"probabilities": 1, "counts": 1, "amounts": 3, "days": PERIODS}  # of a head, by its kind
LEAST_SPREAD = 0.05  # of the logarithm of an amount: labels that repeat are no certainty
MOST_LOG = 8.0  # of what is expected, in units in which labels are about 1


class Heads(nn.Module):
    """The outputs of each task's head. That nothing has happened since the last event is told by the days since."""

    def __init__(self, width: int, kinds: Sequence[str]):
        super().__init__()
        self.kinds = tuple(kinds)
        self.since = Days(width)
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, sum(OUTPUTS[kind] for kind in self.kinds))

    def forward(self, last_JD: Tensor, since_J: Tensor) -> Tensor:
        """Vectors, and days float32 from the last event to the instant -> outputs (J, W)."""
        x_JD = last_JD + self.since(since_J).to(last_JD.dtype)
        out_JW: Tensor = self.out(self.hidden(x_JD).relu())
        return out_JW

    def by_head(self, out_JW: Tensor) -> list[tuple[str, Tensor]]:
        """Of each head its kind and its outputs."""
        parts = out_JW.split([OUTPUTS[kind] for kind in self.kinds], dim=1)
        return list(zip(self.kinds, parts, strict=True))

    def loss(self, out_JW: Tensor, label_JH: Tensor) -> Tensor:
        """Negative log-likelihood of each label, (J, H); NaN where the label is."""
        lost = [
            nll(kind, out, label) for (kind, out), label in zip(self.by_head(out_JW), label_JH.unbind(1), strict=True)
        ]
        return torch.stack(lost, dim=1)

    def mean(self, out_JW: Tensor) -> Tensor:
        """What is expected of each label, (J, H)."""
        return torch.stack([expected(kind, out) for kind, out in self.by_head(out_JW)], dim=1)


def nll(kind: str, out: Tensor, label: Tensor) -> Tensor:
    """Of a head's outputs (J, w) and labels (J,), NaN where it is not known: computed without it, or a NaN would reach
    the gradient."""
    y = label.nan_to_num()
    if kind == "probabilities":
        lost = F.binary_cross_entropy_with_logits(out[:, 0], y, reduction="none")
    elif kind == "counts":
        z = out[:, 0].clamp(max=MOST_LOG)
        lost = z.exp() - y * z + torch.lgamma(y + 1)
    elif kind == "days":  # label: the share of the window that went by; 1 and more: it did not end
        at_K = torch.arange(PERIODS, device=out.device)
        ends_J = (y * PERIODS).floor().long()
        ends_JK, lasts_JK = at_K == ends_J[:, None], at_K < ends_J[:, None]
        lost = (F.softplus(-out) * ends_JK + F.softplus(out) * lasts_JK).sum(1)
    else:
        mu, spread = out[:, 1], _spread(out)
        log_y = y.clamp(min=1e-12).log()
        of_amount = log_y + spread.log() + 0.5 * math.log(2 * math.pi) + (log_y - mu) ** 2 / (2 * spread**2)
        some = (y > 0).to(y.dtype)
        lost = F.binary_cross_entropy_with_logits(out[:, 0], some, reduction="none")
        lost = lost + torch.where(y > 0, of_amount, torch.zeros_like(of_amount))
    return torch.where(label.isnan(), torch.full_like(lost, torch.nan).detach(), lost)


def expected(kind: str, out: Tensor) -> Tensor:
    """The mean that a head's outputs (J, w) say: (J,)."""
    if kind == "probabilities":
        return out[:, 0].sigmoid()
    if kind == "counts":
        return out[:, 0].clamp(max=MOST_LOG).exp()
    if kind == "days":  # under straight lines between the ends of periods, as a share of the window
        lasts_JK = 1 - ended(out)
        return lasts_JK.mean(1) + (1 - lasts_JK[:, -1]) / (2 * PERIODS)
    return out[:, 0].sigmoid() * (out[:, 1] + _spread(out) ** 2 / 2).clamp(max=MOST_LOG).exp()


def ended(out: Tensor) -> Tensor:
    """That a wait has ended by the end of each period, (J, K)."""
    return 1 - (-F.softplus(out)).cumsum(1).exp()


def _spread(out: Tensor) -> Tensor:
    return F.softplus(out[:, 2]) + LEAST_SPREAD
