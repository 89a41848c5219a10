"""What a dataset's `steps` may say: one frozen class a step, its settings and which columns it reads and makes.

A step stands between reading and checking, for exports whose rows are not events yet. What it does is a function of
its module, entered in `apply.RUN`; here is what has to be known without a row. Needs no Polars.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from shopkeeper.errors import Rule
from shopkeeper.schema import EVENT_TYPES
from shopkeeper.shapes import PLAIN, SWITCH, Each, Items, Name, Needed
from shopkeeper.typed import held


class Step:
    """One entry of `steps`. Which of its settings name columns: those it reads, those it makes."""

    READS: ClassVar[tuple[str, ...]] = ()  # a name, a list of names, or the values of a block
    MAKES: ClassVar[tuple[str, ...]] = ()  # a name, a list of names, or the keys of a block: need not be in the file
    BY: ClassVar[str | None] = None  # the column whose neighbouring equal values the step must see together

    def reads(self) -> set[str]:
        """Columns that this step reads."""
        return {name for key in self.READS for name in _names(vars(self)[key], of_block=dict.values)}

    def makes(self) -> set[str]:
        """Columns that this step makes."""
        return {name for key in self.MAKES for name in _names(vars(self)[key], of_block=dict.keys)}

    def by_column(self) -> str | None:
        """The column whose neighbouring equal values this step must see together; None: it looks at single rows."""
        return None if self.BY is None else str(vars(self)[self.BY])


def _names(value: Any, of_block: Callable[[dict[str, str]], Iterable[str]]) -> Iterable[str]:
    if isinstance(value, Mapping):
        return of_block(dict(value))
    return value if isinstance(value, tuple) else () if value is None else (value,)


def _compiles(pattern: Any) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.match_substring_regex(pa.scalar(""), pattern)
    except (pa.ArrowException, TypeError):
        return False
    return isinstance(pattern, str) and pattern != ""


PATTERN: Rule = ("must be a regular expression (without look-around)", _compiles)


@dataclass(frozen=True)
class Fill(Step):
    """`fill`: order columns that stand on the first line of an order alone are repeated on its other lines.

    Lines of one order are neighbours. A line that has a value of its own keeps it, so that an export which repeats
    its order columns comes out as it went in.
    """

    READS = ("by",)
    BY = "by"

    by: str = held(Needed(PLAIN))
    columns: tuple[str, ...] = held(Needed(Items(PLAIN, least=1)))


@dataclass(frozen=True)
class Discount(Step):
    """`discount`: what was paid for each line, as one amount: price × quantity − its own discount − its share.

    Shops write a discount that was given to the order beside the order, and nothing beside its lines. What the order's
    discount is above the sum of its lines' own is shared among them by what is left of their value. Where `subtotal`
    (the order's, after discounts, without shipping and tax) says that less was taken off the lines (a code for free
    shipping counts as a discount of the order, too), only so much is shared.
    """

    READS = ("by", "price", "quantity", "line", "order", "subtotal")
    MAKES = ("into",)
    BY = "by"

    by: str = held(Needed(PLAIN))  # the column of the order's number
    price: str = held(Needed(PLAIN))  # per unit, before discounts
    quantity: str = held(Needed(PLAIN))
    into: str = held(Needed(PLAIN))  # of the whole line: `price_is: total`
    line: str | None = held(PLAIN, None)  # the whole line's own discount
    order: str | None = held(PLAIN, None)  # the order's, on its first line or on all
    subtotal: str | None = held(PLAIN, None)


@dataclass(frozen=True)
class FirstOf(Step):
    """`first_of`: the first of several columns in which something stands, e.g. an e-mail address, else a phone."""

    READS = ("columns",)
    MAKES = ("into",)

    columns: tuple[str, ...] = held(Needed(Items(PLAIN, least=1)))
    into: str = held(Needed(PLAIN))


@dataclass(frozen=True)
class Text(Step):
    """`text`: a column in one spelling: without what `remove` matches, in lower case; into another column or itself."""

    READS = ("column",)
    MAKES = ("into",)

    column: str = held(Needed(PLAIN))
    into: str | None = held(PLAIN, None)  # None: the same
    remove: str | None = held(PATTERN, None)
    lower: bool = held(SWITCH, False)


@dataclass(frozen=True)
class Also(Step):
    """`also`: a row is a further event where `column` matches, `taking` some of its columns from others.

    A shop writes that an order was cancelled into a column of the order. In a log this is an event of its own, at its
    own time: an order that is left out because it was cancelled later would tell a model the future. `event`, in the
    column `into`, tells both apart: the row itself has nothing there.
    """

    READS = ("column", "taking")
    MAKES = ("into",)

    column: str = held(Needed(PLAIN))
    event: str = held(Needed(Name(EVENT_TYPES)))
    into: str = held(Needed(PLAIN))
    matches: str = held(PATTERN, ".")
    taking: Mapping[str, str] = held(Each(PLAIN), factory=dict)


STEPS: dict[str, type] = {
    "fill": Fill,
    "discount": Discount,
    "first_of": FirstOf,
    "text": Text,
    "also": Also,
}
