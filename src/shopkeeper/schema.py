"""The vocabulary: what a column, an event type and a metric are called, everywhere in the project."""

from __future__ import annotations

from collections.abc import Iterable

from shopkeeper.errors import UserError, nearest

# Columns of one event. The first four are required, except that order-only data has no timestamp.
REQUIRED = ("user_id", "item_id", "event_type", "timestamp")
OPTIONAL = ("session_id", "order_id", "quantity", "price", "channel")
EVENT_COLUMNS = REQUIRED + OPTIONAL

# Codes are written to disk (event_type.npy): append, never reorder. 0 is padding.
EVENT_TYPES = (
    "view",
    "search",
    "add_to_cart",
    "remove_from_cart",
    "purchase",
    "return",
    "rating",
    "favourite",
    "exposure",
)
EVENT_CODE = {name: code for code, name in enumerate(EVENT_TYPES, start=1)}
NO_INTEREST = ("remove_from_cart", "return", "exposure")  # event types that count nothing unless asked for
INTEREST_TYPES = tuple(name for name in EVENT_TYPES if name not in NO_INTEREST)
INTEREST = tuple(EVENT_CODE[name] for name in INTEREST_TYPES)  # their codes

# Where item tables keep the category, the first that is there.
CATEGORY_COLUMNS = ("category", "main_category", "department", "genres", "genre")

PAD = 0  # internal id of "no item" / "no user"; real ids start at 1
NO_HISTORY = "no history before the cutoff"  # why a customer has no score, in evaluation and bundles alike
NOTHING_LEFT = "everything that could be shown is left out"  # why a list is empty
NO_TIME = -(2**63)  # instant of a request to order-only data

MICROSECONDS_PER_DAY = 86_400_000_000


def event_codes(names: Iterable[str], setting: str = "") -> list[int]:
    """Codes of event types by name; a `UserError` names an unknown one, its setting and its nearest neighbour."""
    names = list(names)
    for name in names:
        if not isinstance(name, str) or name not in EVENT_CODE:
            where = f"{setting}: " if setting else ""
            raise UserError(f"{where}unknown event type '{name}'.{nearest(str(name), EVENT_TYPES)}")
    return [EVENT_CODE[name] for name in names]


def mlflow_name(metric: str) -> str:
    """`ndcg@10` -> `ndcg_at_10`: MLflow forbids `@` in metric names."""
    return metric.replace("@", "_at_")
