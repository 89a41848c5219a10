"""What a dataset's `steps` may say: one frozen class a step, its settings and which columns it reads and makes.

A step stands between reading and checking, for exports whose rows are not events yet. What it does is a function of
its module, entered in `apply.RUN`; here is what has to be known without a row. Needs no Polars.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from shopkeeper.errors import Rule, or_null, whole
from shopkeeper.ingest.dataset_parts import ReaderSettings
from shopkeeper.schema import EVENT_TYPES
from shopkeeper.shapes import CHARACTERS, PLAIN, SWITCH, TEXT, Each, Items, Name, Needed
from shopkeeper.timeline.instants import INSTANT
from shopkeeper.typed import held


class Step:
    """One entry of `steps`. Which of its settings name columns: those it reads, those it makes."""

    READS: ClassVar[tuple[str, ...]] = ()  # a name, a list of names, or the values of a block
    MAKES: ClassVar[tuple[str, ...]] = ()  # a name, a list of names, or the keys of a block: need not be in the file
    FILES: ClassVar[tuple[str, ...]] = ()  # further files below raw.folder
    BY: ClassVar[str | None] = None  # the column whose neighbouring equal values the step must see together

    def reads(self) -> set[str]:
        """Columns that this step reads."""
        return {name for key in self.READS for name in _names(vars(self)[key], of_block=dict.values)}

    def makes(self) -> set[str]:
        """Columns that this step makes."""
        return {name for key in self.MAKES for name in _names(vars(self)[key], of_block=dict.keys)}

    def files(self) -> tuple[str, ...]:
        """Further files below raw.folder that this step reads."""
        return tuple(str(vars(self)[key]) for key in self.FILES)

    def may_lack(self) -> set[str]:
        """Columns among those that it reads which a file may lack, whatever `optional` says."""
        return set()

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
GROUP: Rule = (
    "must be a regular expression (without look-around) with one group in parentheses",
    lambda x: _compiles(x) and len(re.findall(r"(?<!\\)\((?!\?)", x)) == 1,
)


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
    follow: bool = held(SWITCH, False)  # a row without a number is of the order above it, and gets its number


@dataclass(frozen=True)
class Discount(Step):
    """`discount`: what was paid for each line, as one amount: its value − its own discount − its share of the order's.

    Shops write a discount that was given to the order beside the order, and nothing beside its lines. What the order's
    discount is above the sum of its lines' own is shared among them by what is left of their value. Where `subtotal`
    (the order's, after discounts, without shipping and tax) says that less was taken off the lines (a code for free
    shipping counts as a discount of the order, too), only so much is shared.
    """

    READS = ("by", "price", "quantity", "total", "line", "order", "subtotal")
    MAKES = ("into",)
    BY = "by"

    by: str = held(Needed(PLAIN))  # the column of the order's number
    into: str = held(Needed(PLAIN))  # of the whole line: `price_is: total`
    price: str | None = held(PLAIN, None)  # per unit, before discounts, beside
    quantity: str | None = held(PLAIN, None)
    total: str | None = held(PLAIN, None)  # or the value of the whole line in place of both
    line: str | None = held(PLAIN, None)  # the whole line's own discount
    order: str | None = held(PLAIN, None)  # the order's, on its first line or on all
    subtotal: str | None = held(PLAIN, None)

    def by_column(self) -> str | None:
        """None where lines have discounts of their own alone: then they may stand anywhere in the file."""
        return None if self.order is None else self.by


@dataclass(frozen=True)
class FirstOf(Step):
    """`first_of`: the first of several columns in which something stands, e.g. an e-mail address, else a phone."""

    READS = ("columns",)
    MAKES = ("into",)

    columns: tuple[str, ...] = held(Needed(Items(PLAIN, least=1)))
    into: str = held(Needed(PLAIN))


@dataclass(frozen=True)
class Text(Step):
    """`text`: a column in one spelling, in another column or in itself: what the group of `take` finds in it (nothing
    where it does not match), without what `remove` matches, in lower case, with the zeros in front (up to `digits`)
    that a spreadsheet took from a number.
    """

    READS = ("column",)
    MAKES = ("into",)

    column: str = held(Needed(PLAIN))
    into: str | None = held(PLAIN, None)  # None: the same
    take: str | None = held(GROUP, None)
    remove: str | None = held(PATTERN, None)
    lower: bool = held(SWITCH, False)
    digits: int | None = held(whole(1), None)


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


@dataclass(frozen=True)
class Split(Step):
    """`split`: a row per line of an order, where a shop packs all lines of an order into one cell.

    What separates lines may stand in the name of a product, too. So a line ends only where `between` is followed by
    what every line `begins` with, and a value only where `fields` is followed by a known key (those of `columns` and
    `others`) and `sign`. What follows the key `until` is left out: it holds what customers wrote, which may look like
    anything. A cell that is a list of JSON is read as that, by the same keys.
    """

    READS = ("column",)
    MAKES = ("columns",)

    column: str = held(Needed(PLAIN))
    between: str = held(Needed(CHARACTERS))
    begins: str = held(Needed(PATTERN))
    columns: Mapping[str, str] = held(Needed(Each(PLAIN)), factory=dict)  # column that is made -> key in the cell
    fields: str | None = held(CHARACTERS, None)
    sign: str = held(CHARACTERS, ":")
    others: tuple[str, ...] = held(Items(PLAIN), ())
    until: str | None = held(PLAIN, None)


@dataclass(frozen=True)
class Stack(Step):
    """`stack`: a row per line of an order, where a shop writes each line into a column of its own.

    `numbered` is what those columns are called before their number: `order_item_` of order_item_1, order_item_2 … up to
    `most`. A row of which all are blank stays, with nothing in `into`.
    """

    MAKES = ("into",)

    numbered: str = held(Needed(PLAIN))
    into: str = held(Needed(PLAIN))
    most: int = held(whole(1), 100)

    @property
    def columns(self) -> list[str]:
        """All that a file may have."""
        return [f"{self.numbered}{i}" for i in range(1, self.most + 1)]

    def reads(self) -> set[str]:
        """The columns that a file may have."""
        return set(self.columns)

    def may_lack(self) -> set[str]:
        """All but the first: files have as many as their longest order has lines."""
        return set(self.columns[1:])


@dataclass(frozen=True)
class Join(Step):
    """`join`: columns of a second file, by a key that stands in both: order lines and the orders that they belong to.

    A key stands once in the second file; where a pattern means several, which may overlap, the last with it counts. A
    row whose key none has is rejected, or with `missing: blank` has nothing in these columns.
    """

    READS = ("key",)
    MAKES = ("columns",)
    FILES = ("file",)

    file: str = held(Needed(TEXT))
    key: str = held(Needed(PLAIN))  # name in the log (`on` is true in YAML)
    columns: Mapping[str, str] = held(Needed(Each(PLAIN)), factory=dict)  # column that is made -> name in the file
    equals: str | None = held(PLAIN, None)  # name in the second file; None: the same
    reader: ReaderSettings | None = None  # None: as the log
    missing: str = held(Name(("reject", "blank")), "reject")


@dataclass(frozen=True)
class Time(Step):
    """`time`: an instant of a date and of how long after its midnight something was, in a column of local times.

    The date is text (`format`, None: ISO 8601) or, with `since`, a number of days of which 1 is that day. The offset is
    a number of `unit`, or `hhmm`: 5 is five past midnight, 1631 half past four.
    """

    READS = ("date", "offset")
    MAKES = ("into",)

    date: str = held(Needed(PLAIN))
    offset: str = held(Needed(PLAIN))
    unit: str = held(Needed(Name(("hhmm", "h", "m", "s", "ms"))))
    into: str = held(Needed(PLAIN))
    format: str | None = held(TEXT, None)
    since: Any = held(or_null(INSTANT), None)


STEPS: dict[str, type] = {
    "fill": Fill,
    "discount": Discount,
    "first_of": FirstOf,
    "text": Text,
    "also": Also,
    "split": Split,
    "stack": Stack,
    "join": Join,
    "time": Time,
}
