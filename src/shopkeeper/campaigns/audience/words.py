"""Why a customer has the score: what adds most to it, in words, and what is left, so that all of it adds up.

score = usual + effect of the first reason + of the second + of the third + of all others

`usual` is what the model says of nobody in particular; all are in the unit of the score before calibration (log-odds of
a probability).

Shapes: n customers, F features.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from shopkeeper.models.shares import Contributions

REASONS = 3
AMOUNT = re.compile(r"[\d,]+\.\d\d\b")
Words = Callable[[float], str]


def _days(x: float) -> str:
    return "today" if x < 1 else "1 day" if x < 1.5 else f"{x:.0f} days"


def _ago(what: str) -> Words:
    return lambda x: f"{what} today" if x < 1 else f"{what} {_days(x)} ago"


def _number(one: str, many: str) -> Words:
    return lambda x: f"{x:.0f} {one if round(x) == 1 else many}"


def _share(what: str) -> Words:
    return lambda x: f"{100 * x:.0f} of 100 {what}"


# What a feature says, and what it says where it is not known.
WORDS: dict[str, tuple[Words, str]] = {
    "days_since_order": (_ago("last order"), "no order yet"),
    "days_since_first_order": (_ago("first order"), "no order yet"),
    "days_since_event": (_ago("last seen"), "never seen"),
    "orders": (_number("order in all", "orders in all"), ""),
    "money": (lambda x: f"spent {x:,.2f} in all", ""),
    "money_per_order": (lambda x: f"{x:,.2f} an order", "no order yet"),
    "gap_mean": (lambda x: f"orders every {_days(x)}", "fewer than two orders"),
    "gap_std": (lambda x: f"gaps between orders differ by {_days(x)}", "fewer than two orders"),
    "gap_last": (lambda x: f"last gap between orders {_days(x)}", "fewer than two orders"),
    "recency_over_gap": (lambda x: f"silent for {x:.1f} of the usual gaps", "fewer than two orders"),
    "lines_per_order": (lambda x: f"{x:.1f} lines an order", "no order yet"),
    "units_per_order": (lambda x: f"{x:.1f} pieces an order", "no order yet"),
    "items": (_number("different item bought", "different items bought"), ""),
    "categories": (_number("category bought from", "categories bought from"), "no categories known"),
    "repeat_share": (_share("lines are repeats"), "no order yet"),
    "return_share": (_share("lines came back"), "no order yet"),
    "money_returned_share": (_share("of the money came back"), "no order yet"),
    "days_since_view": (_ago("last view"), "no view known"),
    "days_since_cart": (_ago("last put into the cart"), "nothing ever put into the cart"),
    "order_weeks": (_number("week with an order", "weeks with an order"), ""),
    "order_months": (_number("month with an order", "months with an order"), ""),
    "visit_gap_mean": (lambda x: f"here every {_days(x)}", "only one visit"),
    "category_affinity": (_share("purchases, newer ones more, are of one category"), "no categories known"),
    "brand_affinity": (_share("purchases, newer ones more, are of one brand"), "no brands known"),
    "discount_share": (_share("purchases were below the usual price"), "usual prices not known"),
    "events_per_session": (lambda x: f"{x:.1f} events a session", "no session known"),
    "sessions_with_order_share": (_share("sessions have an order"), "no session known"),
    "order_share_weekend": (_share("orders are placed on weekends"), "no order yet"),
    "order_share_night": (_share("orders are placed at night"), "no order yet"),
    **{
        f"order_share_{name}": (_share(f"orders are placed in the {name}"), "no order yet")
        for name in ("morning", "afternoon", "evening")
    },
    "recency_over_visit_gap": (lambda x: f"away for {x:.1f} of the usual gaps", "only one visit"),
}
# The same of those over the last days, `<name>_<days>d`; `late` says of which.
OF_DAYS: dict[str, Callable[[str], Words]] = {
    "orders": lambda late: _number(f"order {late}", f"orders {late}"),
    "money": lambda late: lambda x: f"spent {x:,.2f} {late}",
    "views": lambda late: _number(f"view {late}", f"views {late}"),
    "carts": lambda late: _number(f"item put into the cart {late}", f"items put into the cart {late}"),
    "visits": lambda late: _number(f"visit {late}", f"visits {late}"),
    "order_weeks": lambda late: _number(f"week with an order {late}", f"weeks with an order {late}"),
    "sessions": lambda late: _number(f"session {late}", f"sessions {late}"),
    "orders_trend": lambda late: _share(f"orders of twice as long a time were {late}"),
    "money_trend": lambda late: _share(f"of the money of twice as long a time were spent {late}"),
    "discount_share": lambda late: _share(f"purchases {late} were below the usual price"),
    "orders_year_ago": lambda late: _number(f"order {late} from a year ago on", f"orders {late} from a year ago on"),
    "order_months": lambda late: _number(f"month with an order {late}", f"months with an order {late}"),
}
DAYS = re.compile(r"(\w+)_(\d+)d")
CHANNEL = "channel_share_"


def in_words(feature: str, value: float, currency: str = "") -> str:
    """What a feature says of a customer; `currency`: of its money, "" where it is not told.

    >>> in_words("days_since_order", 61.2), in_words("gap_mean", float("nan")), in_words("channel_share_web", 0.25)
    ('last order 61 days ago', 'fewer than two orders', '25 of 100 orders by web')
    >>> in_words("orders_30d", 1.0), in_words("mood", 2.0)
    ('1 order in 30 days', 'mood 2')
    >>> in_words("money_per_order", 1234.5, "GBP"), in_words("money_30d", 0.0)
    ('1,234.50 GBP an order', 'spent 0.00 in 30 days')
    """
    if feature.startswith(CHANNEL):
        words, unknown = _share(f"orders by {feature.removeprefix(CHANNEL)}"), "no order yet"
    elif feature in WORDS:
        words, unknown = WORDS[feature]
    elif (of_days := DAYS.fullmatch(feature)) and of_days[1] in OF_DAYS:
        words, unknown = OF_DAYS[of_days[1]](f"in {of_days[2]} days"), ""
    else:
        words, unknown = (lambda x: f"{feature.replace('_', ' ')} {x:g}"), ""
    if not np.isfinite(value):
        return unknown or f"{feature.replace('_', ' ')} not known"
    text = words(value)
    return AMOUNT.sub(rf"\g<0> {currency}", text, count=1) if currency and feature.startswith("money") else text


def reasons(
    found: Contributions, values_nF: np.ndarray, names: Sequence[str], there: np.ndarray, currency: str = ""
) -> dict[str, pa.Array]:
    """Columns of a table: `score`, `usual`, `reason_1`, `reason_1_effect`, …, `other_reasons`; what adds up is above.

    Args:
        found: of the customers who have a score, in order.
        values_nF: their features.
        names: of the features, F.
        there: who has a score, bool (all of them); others are null.
        currency: of money in words.
    """
    F = len(names)
    top = np.argsort(-np.abs(found.share), axis=1, kind="stable")[:, : min(REASONS, F)]
    effects = np.take_along_axis(found.share, top, axis=1)
    said = np.take_along_axis(values_nF, top, axis=1)
    columns = {"score": found.score, "usual": np.full(len(top), found.base)}
    table = {name: _spread(value, there) for name, value in columns.items()}
    for i in range(top.shape[1]):
        texts = [
            in_words(names[f], x, currency) if e else None
            for f, x, e in zip(top[:, i], said[:, i], effects[:, i], strict=True)
        ]
        all_of = np.full(len(there), None, object)
        all_of[there] = texts
        table[f"reason_{i + 1}"] = pa.array(all_of.tolist(), pa.string())
        table[f"reason_{i + 1}_effect"] = _spread(effects[:, i], there)
    table["other_reasons"] = _spread(found.score - found.base - effects.sum(axis=1), there)
    return table


def _spread(values: np.ndarray, there: np.ndarray) -> pa.Array:
    found = np.zeros(len(there))
    found[there] = values
    return pa.array(found, pa.float64(), mask=~there)
