"""What segments are, as `segmentation:` in conf/segments.yaml says it."""

from __future__ import annotations

from dataclasses import dataclass, field

from shopkeeper.errors import UserError, number, whole
from shopkeeper.shapes import Maybe
from shopkeeper.typed import held


@dataclass(frozen=True)
class Lifecycle:
    """When a customer counts as late, in gaps between orders as they are usual for that customer."""

    at_risk: float = held(number(above=True), 1.5)  # from so many usual gaps without an order on
    lapsed: float = held(number(above=True), 3.0)  # and gone from so many on
    weight: float = held(number(), 2.0)  # the shop's usual gap counts as so many of a customer's own
    usual_days: float | None = held(Maybe(number(above=True)), None)  # the shop's; None: the median of its customers'


@dataclass(frozen=True)
class Value:
    """Tiers by money: the customers who together bring the first share of it, the next share, the rest."""

    top: float = held(number(above=True, below=1.0), 0.5)
    middle: float = held(number(above=True, below=1.0), 0.8)  # top and middle together


@dataclass(frozen=True)
class Clusters:
    """Groups of customers who are alike, as many as come out the same again."""

    least: int = held(whole(2), 2)
    most: int = held(whole(2), 8)
    close: float = held(number(), 0.05)  # numbers of groups this close to the most stable one are as stable
    stable: float = held(number(above=True, below=1.0), 0.8)  # adjusted Rand index from which groupings are the same
    bootstraps: int = held(whole(2), 5)
    cutoffs: int = held(whole(0), 2)  # earlier instants whose groupings are held against today's
    sample: int = held(whole(100), 10_000)  # customers that groups are learned from
    seed: int = 0


@dataclass(frozen=True)
class Segmentation:
    """All of it."""

    movement_days: float = held(number(above=True), 30.0)  # movement is since so many days before
    smallest: int = held(whole(1), 10)  # of fewer customers a profile says how many, and no more
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    value: Value = field(default_factory=Value)
    clusters: Clusters = field(default_factory=Clusters)

    def check(self) -> None:
        """A `UserError` where one setting contradicts another."""
        for low, high in (("lifecycle.at_risk", "lifecycle.lapsed"), ("value.top", "value.middle"),
                          ("clusters.least", "clusters.most")):  # fmt: skip
            block, name = low.split(".")
            below, above = getattr(getattr(self, block), name), getattr(getattr(self, block), high.split(".")[1])
            if below > above or (block != "clusters" and below == above):
                raise UserError(f"segmentation.{low}={below:g} must lie below segmentation.{high}={above:g}")


# Which columns of the table are segmentations that profiles, movement and slices are made of.
SEGMENTATIONS = ("lifecycle", "value_tier", "cluster")
