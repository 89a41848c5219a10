"""What can be set about a loss: no torch is needed to read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from shopkeeper.errors import UserError, number, one_of, share, whole
from shopkeeper.shapes import SWITCH, Name, Shape
from shopkeeper.typed import read

NAMES = ("softmax", "sampled_softmax", "bce", "gbce", "bpr", "bpr_max", "top1")


@dataclass(frozen=True)
class Loss:
    """What is minimised (conf/loss/*.yaml). Nothing but `name` and `smoothing` is of effect on the full softmax.

    `draw`: `uniform` over the catalogue, or `popularity`: in proportion to a class's count as a label.
    `logq`: subtract log(C q) from the logit of a negative that is drawn with probability q, so that the sum over
    negatives is an unbiased estimate of the sum over the catalogue (Bengio & Senécal, 2008; Yi et al., RecSys 2019).
    `calibration`: how far gBCE corrects for the share of the catalogue that is drawn: 0 (as BCE) to 1 (wholly).
    `regularisation`: of the negatives' scores in BPR-max.
    `smoothing`: of the labels of a softmax: this share of each belongs to all classes alike (C. Szegedy, 2016).
    `leave_out`: what is no negative where it is drawn: the `label` alone, or every item of the `sequence`.
    """

    name: str = "softmax"
    negatives: int = 256
    draw: str = "uniform"
    logq: bool = True
    calibration: float = 0.75
    regularisation: float = 1.0
    smoothing: float = 0.0
    leave_out: str = "label"

    RULES: ClassVar[dict[str, Shape]] = {
        "name": Name(NAMES),
        "negatives": whole(1),
        "draw": one_of("uniform", "popularity"),
        "logq": SWITCH,
        "calibration": share(),
        "regularisation": number(),
        "smoothing": number(below=1),
        "leave_out": one_of("label", "sequence"),
    }

    def __post_init__(self) -> None:
        if self.smoothing and "softmax" not in self.name:
            raise UserError(
                f"loss.smoothing={self.smoothing:g} is of the classes of a softmax, and loss={self.name} has pairs; "
                f"use loss=softmax or loss=sampled_softmax, or loss.smoothing=0"
            )

    @classmethod
    def of(cls, values: Mapping[str, Any] | str | Loss) -> Loss:
        """From a name or a resolved config; a `UserError` names an unknown key and its nearest neighbour."""
        if isinstance(values, Loss):
            return values
        return read(cls, {"name": values} if isinstance(values, str) else values, "loss")

    def drawn(self, n_classes: int) -> int:
        """How many negatives are drawn; 0: none, all classes count (the full softmax)."""
        whole = self.name == "softmax" or (self.name == "sampled_softmax" and self.negatives >= n_classes)
        return 0 if whole else self.negatives
