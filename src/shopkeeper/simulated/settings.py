"""What is said of a simulated shop: the `simulate:` block of a dataset's config."""

from __future__ import annotations

from dataclasses import dataclass

from shopkeeper.errors import or_null, whole
from shopkeeper.shapes import SWITCH, Name
from shopkeeper.typed import held

DEFAULT_CUSTOMERS = 5_000
# Mean events of a customer, measured over 50,000 of them (± 1 %): turns `events` into `customers`.
EVENTS_PER_CUSTOMER = {"demo_shop": 56.0, "markov": 21.0, "seasonal": 47.4, "btyd": 10.0}


@dataclass(frozen=True)
class Simulation:
    """Which shop, and how much of it."""

    preset: str = held(Name(EVENTS_PER_CUSTOMER), "demo_shop")
    seed: int = held(whole(0), 1)
    customers: int | None = held(or_null(whole(1)), None)  # None: 5,000
    events: int | None = held(or_null(whole(1)), None)  # about how many to write; goes before `customers`
    campaign: bool = held(SWITCH, False)
    identities: bool = held(SWITCH, False)
    costs: bool = held(SWITCH, False)  # items with `cost` and `margin` per unit
    searches: bool = held(SWITCH, False)  # what was typed before some looks

    @property
    def n_customers(self) -> int:
        """How many there are to be."""
        if self.events is not None:
            return max(1, round(self.events / EVENTS_PER_CUSTOMER[self.preset]))
        return DEFAULT_CUSTOMERS if self.customers is None else self.customers
