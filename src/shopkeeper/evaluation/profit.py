"""What a retention campaign costs and earns in this shop: from the dataset's YAML, never from the source.

profit:
  currency: EUR
  customer_value: 120   # what a customer who stays is worth
  offer_cost: 10        # of the offer, when it is taken
  contact_cost: 0.5     # of asking one customer
  success_rate: 0.2     # share of those about to leave whom the offer keeps
  success_trials: 200   # optional: so many offers that rate was seen on; left out, it counts as known exactly
  capacity: 5000        # optional: so many customers can be contacted
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from shopkeeper.errors import UserError, nearest
from shopkeeper.metrics.classification_gains import expected_maximum_profit

KNOWN_EXACTLY = 1e6  # trials: as good as certain
OPTIONAL = ("success_trials", "capacity")


@dataclass(frozen=True)
class Profit:
    """A shop's own values; amounts in `currency`."""

    currency: str
    customer_value: float
    offer_cost: float
    contact_cost: float
    success_rate: float
    success_trials: float | None = None
    capacity: float | None = None  # customers who can be contacted; None: all

    @classmethod
    def of(cls, said: Any, dataset: str) -> Profit | None:
        """From the block of a dataset's config; None where the shop says nothing.

        Raises:
            UserError: a value is missing, unknown or impossible; the message names the key.
        """
        if not said:
            return None
        where = f"conf/dataset/{dataset}.yaml: profit"
        needed = [k for k in cls.__annotations__ if k not in OPTIONAL]
        if not isinstance(said, Mapping):
            raise UserError(f"{where} must hold {', '.join(needed)}; leave it out for no figure of profit")
        if unknown := [k for k in said if k not in cls.__annotations__]:
            raise UserError(
                f"{where} has the unknown key '{unknown[0]}'.{nearest(str(unknown[0]), cls.__annotations__)}"
            )
        if lacks := [k for k in needed if said.get(k) is None]:
            raise UserError(f"{where} lacks {', '.join(lacks)}; give the shop's own values, or leave profit out")
        if not isinstance(said["currency"], str):
            raise UserError(f"{where}.currency must be a name such as EUR, got {said['currency']!r}")
        numbers = {k: v for k, v in said.items() if k != "currency" and v is not None}
        if wrong := [k for k, v in numbers.items() if isinstance(v, bool) or not isinstance(v, int | float)]:
            raise UserError(f"{where}.{wrong[0]} must be a number, got {numbers[wrong[0]]!r}")
        found = cls(currency=said["currency"], **{k: float(v) for k, v in numbers.items()})
        if not 0 < found.offer_cost < found.customer_value or found.contact_cost < 0:
            raise UserError(f"{where} needs 0 < offer_cost < customer_value and contact_cost of 0 or more")
        if not 0 < found.success_rate < 1 or not (found.success_trials is None or found.success_trials > 0):
            raise UserError(f"{where} needs success_rate between 0 and 1 and success_trials above 0 (or left out)")
        if found.capacity is not None and found.capacity < 1:
            raise UserError(f"{where} needs a capacity of 1 or more customers (or left out)")
        return found

    @property
    def kept(self) -> float:
        """What contacting one who would leave brings, in the mean."""
        return self.success_rate * (self.customer_value - self.offer_cost) - self.contact_cost

    @property
    def wasted(self) -> float:
        """What contacting one who would have stayed costs: the offer is taken all the same."""
        return self.offer_cost + self.contact_cost

    @property
    def threshold(self) -> float:
        """The probability of leaving from which on a contact pays; above 1 where none does."""
        return self.wasted / (self.kept + self.wasted) if self.kept + self.wasted > 0 else float("inf")

    def of_contact(self, leaves: np.ndarray) -> np.ndarray:
        """What contacting each customer brings, by who leaves (0, 1, or a probability of it): float64, same shape."""
        return leaves * self.kept - (1 - leaves) * self.wasted

    def per_customer(self, label: np.ndarray, probability: np.ndarray, weight: np.ndarray | None = None) -> float:
        """Expected maximum profit per customer of the base, in `currency`."""
        trials = self.success_trials or KNOWN_EXACTLY
        return expected_maximum_profit(
            label,
            probability,
            weight,
            alpha=self.success_rate * trials,
            beta=(1 - self.success_rate) * trials,
            clv=self.customer_value,
            incentive=self.offer_cost,
            contact=self.contact_cost,
        ).profit

    def per_resample(self, label: np.ndarray, probability: np.ndarray, weight: np.ndarray | None) -> Any:
        """The same for each set of weights (R, n): float64 (R,); a single figure without weights."""
        if weight is None:
            return self.per_customer(label, probability)
        return np.array([self.per_customer(label, probability, weight_n) for weight_n in weight])

    def as_json(self) -> dict[str, Any]:
        """What stands beside every figure of it."""
        return {k: v for k, v in asdict(self).items() if v is not None}
