"""Which features there are, as a configuration declares them (`conf/features/*.yaml`): a group each, with its windows.

What stands here where nothing is said are the features of runs and bundles from before they were declared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any

import numpy as np

from shopkeeper.errors import number, or_null, whole
from shopkeeper.features.customer.shop import Shop
from shopkeeper.files import sha256_json
from shopkeeper.shapes import PLAIN, TEXT, Each, Items, Maybe, Needed
from shopkeeper.typed import held, read

DAYS = whole(1)
HALF_LIFE = number(above=True)
OF_THE_SHOP = ("price_level", "discounts", "season", "position")
OF_ITEMS = ("brand", "discounts", "item_vectors")


@dataclass(frozen=True)
class Windows:
    """Over the last so many days."""

    windows: tuple[int, ...] = held(Items(DAYS, 1))


@dataclass(frozen=True)
class Look:
    """The same over one window."""

    days: int = held(DAYS, 30)


@dataclass(frozen=True)
class Affinity:
    """Shares of kinds of items among purchases."""

    half_life_days: float = held(HALF_LIFE, 90.0)  # after which a purchase counts half
    named: tuple[str, ...] = held(Items(PLAIN), ())  # kinds with a feature each


@dataclass(frozen=True)
class Levels:
    """The same of levels of price."""

    half_life_days: float = held(HALF_LIFE, 90.0)
    levels: int = held(("must be a whole number from 2 to 20", lambda x: whole(2)[1](x) and x <= 20), 3)


@dataclass(frozen=True)
class Sessions:
    """Sessions of the last days."""

    windows: tuple[int, ...] = held(Items(DAYS, 1), (30, 90))
    gap_minutes: float = held(number(above=True), 30.0)  # silence that ends one, where the log does not say


@dataclass(frozen=True)
class Season:
    """What followed a year ago."""

    days: int = held(("must be a whole number from 1 to 364", lambda x: DAYS[1](x) and x < 365), 90)


@dataclass(frozen=True)
class Position:
    """Among whom a customer is placed, and by what."""

    of: tuple[str, ...] = held(Items(TEXT, 1), ("days_since_order", "orders_90d", "money_90d"))
    days: int | None = held(or_null(DAYS), 90)  # those with an order in so many days; None: with any


@dataclass(frozen=True)
class ItemVectors:
    """Items as a trained recommender sees them."""

    run: str = held(Needed(TEXT), "")  # its folder, or in short its model or name
    size: int = held(whole(1), 8)  # of its vectors' directions those that differ most
    half_life_days: float = held(HALF_LIFE, 90.0)
    seal: str | None = held(Maybe(TEXT), None)  # of that run; `train` fills it in


@dataclass(frozen=True)
class Attributes:
    """Columns of the users' table."""

    # Of a column of text the values with a feature each; of a number none.
    values: Mapping[str, Any] = held(Needed(Each(Maybe(Items(PLAIN)))), factory=dict)


@dataclass(frozen=True)
class Features:
    """Groups in the order of their columns; null, or false, leaves one out."""

    name: str = held(TEXT, "usual")
    recency: bool | None = True
    frequency: Windows | None = field(default_factory=lambda: Windows((30, 60, 90, 180)))
    money: Windows | None = field(default_factory=lambda: Windows((30, 60, 90, 180)))
    gaps: bool | None = True
    baskets: bool | None = True
    returns: bool | None = True
    looks: Look | None = field(default_factory=Look)
    visits: Windows | None = field(default_factory=lambda: Windows((30, 90)))
    habit: Windows | None = field(default_factory=lambda: Windows((90, 180)))
    channels: bool | None = True
    trends: Windows | None = None
    category: Affinity | None = None
    brand: Affinity | None = None
    price_level: Levels | None = None
    discounts: Windows | None = None
    sessions: Sessions | None = None
    time_of_day: bool | None = None
    time_of_week: bool | None = None
    season: Season | None = None
    position: Position | None = None
    item_vectors: ItemVectors | None = None
    attributes: Attributes | None = None

    @property
    def groups(self) -> dict[str, Any]:
        """Those that there are, with their settings."""
        every = {f.name: getattr(self, f.name) for f in fields(Features) if f.name != "name"}
        return {name: told for name, told in every.items() if told}

    @property
    def reads_shop(self) -> bool:
        """Whether what others did is read, beside the customer's own events and facts of items."""
        return not self.groups.keys().isdisjoint(OF_THE_SHOP)

    @property
    def reads_items(self) -> bool:
        """Whether facts of items beside their categories are read."""
        return not self.groups.keys().isdisjoint(OF_ITEMS)

    def as_json(self) -> dict[str, Any]:
        """As a manifest says it: the groups that there are."""
        return {name: _plain(told) for name, told in self.groups.items()}

    @property
    def hash(self) -> str:
        """SHA-256 of what is declared, whatever its name is; a group that is left out, or not thought of yet, is not in
        it."""
        return sha256_json(self.as_json())

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Features:
        """From what `as_json` gave; a `UserError` names a group that there is not."""
        return read(Features, {f.name: None for f in fields(Features) if f.name != "name"} | dict(said), "features")


@dataclass(frozen=True)
class Beside:
    """What a declaration is computed with, beside the log."""

    vectors: np.ndarray | None = None  # float32 (V, size): of items, as a trained recommender sees them
    shop: Shop | None = None  # what is known of the shop; None: the log is asked


@dataclass(frozen=True)
class Bound(Features):
    """A declaration with that."""

    held: Beside = field(default_factory=Beside, repr=False, compare=False)


def beside(declared: Features) -> Beside:
    """What a declaration is computed with."""
    return declared.held if isinstance(declared, Bound) else Beside()


def bound(declared: Features, **to: Any) -> Bound:
    """A declaration with more of it."""
    said = {f.name: getattr(declared, f.name) for f in fields(Features)}
    return Bound(**said, held=replace(beside(declared), **to))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, float) and value.is_integer():  # 90.0 days are 90
        return int(value)
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value


USUAL = Features()
