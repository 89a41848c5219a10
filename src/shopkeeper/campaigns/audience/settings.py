"""What an audience is, as conf/audience/*.yaml says it: who, with which items, how often, and who is in control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shopkeeper.errors import Rule, UserError, number, whole
from shopkeeper.shapes import NUMBER, TEXT, Each, Items, Maybe, Name, Needed, Yaml
from shopkeeper.typed import held

COMING, LEAVING, WORTH = "coming", "leaving", "worth"  # what a score is about
ORDERS = ("score", "money", "recent")
RECOMMENDED, WITH_CART, WITH_LAST_ORDER = "recommended", "with_cart", "with_last_order"
CART, LAST_ORDER, DUE, BACK = "cart", "last_order", "due", "back"
SOURCES = (CART, LAST_ORDER, DUE, BACK, RECOMMENDED, WITH_CART, WITH_LAST_ORDER)
ASKED = (RECOMMENDED, WITH_CART, WITH_LAST_ORDER)  # of a recommender
SHARE: Rule = number(above=True, below=1.0)


def _is_range(value: Any) -> bool:
    ends = list(value) if isinstance(value, list | tuple) else []
    if len(ends) != 2 or not all(end is None or NUMBER[1](end) for end in ends):
        return False
    return ends[0] is None or ends[1] is None or ends[0] <= ends[1]


RANGE: Rule = ("must be [from, to], both included, null for no end", _is_range)


@dataclass(frozen=True)
class Score:
    """What is asked of the scores."""

    of: str = held(Name((COMING, LEAVING, WORTH)), COMING)
    share: float | None = held(Maybe(SHARE), None)  # only this share of those who have a score, the highest
    at_least: float | None = held(Maybe(NUMBER), None)  # only from this probability or amount on

    @property
    def chooses(self) -> bool:
        """Whether who is in the audience depends on it."""
        return self.share is not None or self.at_least is not None


@dataclass(frozen=True)
class CartLeft:
    """Something was put into the cart, and neither bought nor taken out."""

    hours: float = held(number(above=True), 72.0)  # in so many hours before the instant
    quiet_hours: float = held(number(), 1.0)  # and nothing was put in for so long


@dataclass(frozen=True)
class Due:
    """Something that the customer buys again and again is due, by the customer's and the item's gaps."""

    times: int = held(whole(2), 2)  # bought so often already
    ahead_days: float = held(number(), 3.0)  # due in so many days from the instant,
    late_days: float = held(number(), 7.0)  # or for so many


@dataclass(frozen=True)
class Back:
    """Something the customer looked at while it was out of stock is there again (needs `stock`)."""

    days: float = held(number(above=True), 3.0)  # since so many
    looked_days: float = held(number(above=True), 30.0)  # and looked at in so many days before it came back


@dataclass(frozen=True)
class Who:
    """Who is in the audience: all that is set must hold."""

    lifecycle: tuple[str, ...] = held(Items(TEXT), ())  # one of these segments
    value_tier: tuple[str, ...] = held(Items(TEXT), ())
    cluster: tuple[str, ...] = held(Items(TEXT), ())
    features: Mapping[str, Any] = held(Each(Needed(RANGE)), factory=dict)  # of customers: [from, to], both included
    score: Score = field(default_factory=Score)
    cart: CartLeft | None = None
    due: Due | None = None
    back: Back | None = None


@dataclass(frozen=True)
class Contact:
    """How often a customer is written to, whatever for (needs `sent`)."""

    most: int | None = held(Maybe(whole(1)), 2)  # messages in
    within_days: float = held(number(above=True), 30.0)
    rest_days: float = held(number(), 3.0)  # and none for so long before


@dataclass(frozen=True)
class Control:
    """Customers of the audience who get nothing, so that the effect can be seen."""

    share: float = held(number(below=1.0), 0.1)  # 0: nobody
    key: str | None = None  # what their hash is made with; None: the audience's name. Another key: other customers
    power: float = held(SHARE, 0.8)
    level: float = held(SHARE, 0.05)
    days: float = held(number(above=True), 30.0)  # after which the effect is read


@dataclass(frozen=True)
class Sessions:
    """A rule for what happens in a session, in place of customers: how often it would have applied, and to what end."""

    days: float = held(number(above=True), 28.0)  # looked back at
    gap_minutes: float = held(number(above=True), 30.0)  # without an event: another session, where the log has none
    views: int = held(whole(1), 3)  # seen in it
    cart: bool = True  # with something in the cart


BLOCK = Needed({
    "from": Needed(Name(SOURCES)), "k": whole(1), "new_days": Maybe(number(above=True)),
    "rest_days": Maybe(number(above=True)),
})  # fmt: skip


@dataclass(frozen=True)
class Audience:
    """One audience."""

    name: str
    title: str = held(TEXT, "")
    message: str = held(TEXT, "")  # what is said to them, for the card
    needs_consent: bool = True  # whether customers must have agreed to be written to
    purpose: str = held(TEXT, "email")  # of the table `consent`, where one is given
    who: Who = field(default_factory=Who)
    order: str = held(Name(ORDERS), "score")  # who comes first
    most: int | None = held(Maybe(whole(1)), None)  # customers in the file, control included
    contact: Contact = field(default_factory=Contact)
    control: Control = field(default_factory=Control)
    blocks: Mapping[str, Any] = held(Each(BLOCK), factory=dict)  # items per customer, by the block's name
    timing_days: float | None = held(Maybe(number(above=True)), 28.0)  # own best hours are judged on; None: no hours
    sessions: Sessions | None = None
    plain: Yaml = field(default_factory=dict, repr=False)

    def check(self) -> None:
        """A `UserError` for settings that contradict each other."""
        if self.sessions is not None and (self.who != Who() or self.blocks):
            raise UserError(
                f"audience.sessions of {self.name} is a rule for sessions and knows nobody: leave audience.who and "
                "audience.blocks out"
            )
        for name, block in self.blocks.items():
            for of in ("new_days", "rest_days"):
                if block.get(of) is not None and block["from"] not in ASKED:
                    raise UserError(
                        f"audience.blocks.{name}.{of} is about what is recommended, and from={block['from']} is of "
                        "the log; leave it out"
                    )
        if self.who.back is None and any(block["from"] == BACK for block in self.blocks.values()):
            raise UserError("audience.blocks shows what is back in stock, and audience.who.back says nothing; set it")
