"""What a shop was asked for, in a sentence: how large baskets are, how much had been taken before or stood in the cart.

Who is asked at the instant of an order has its items in the cart, and a list that shows them is right and of no use:
where most of what was taken stood in carts, a high figure says that, and a second sentence says how to ask earlier.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST = 0.5  # share of what was taken, above which carts explain the figures
CARTS = (
    " A list that repeats the cart is right about these; split=temporal split.targets=all asks at the start of the "
    "window, before carts are filled."
)


def asked_for(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Of any model's figures on the requests, since they are the same for all; "" where the data do not say it.

    >>> asked_for({"basket_size": {"value": 1.416, "low": 1.38, "high": 1.46}, "bought_before": {"value": 0.24}})
    'Baskets of 1.42 (1.38 to 1.46) items; 24 % of what was taken had been taken before.'
    >>> asked_for({"bought_before": {"value": 0.24}, "in_cart": {"value": 0.5}})
    '24 % of what was taken had been taken before; 50 % stood in the cart.'
    """
    said = []
    if (size := metrics.get("basket_size") or {}).get("value") is not None:
        said.append(f"baskets of {_said(size, 1, 2)} items")
    if (share := metrics.get("bought_before") or {}).get("value") is not None:
        said.append(f"{_said(share, 100, 0, ' %')} of what was taken had been taken before")
    if (cart := metrics.get("in_cart") or {}).get("value") is not None:
        said.append(f"{_said(cart, 100, 0, ' %')} stood in the cart")
    text = "; ".join(said)
    more = CARTS if (cart.get("value") or 0.0) > MOST else ""
    return f"{text[:1].upper()}{text[1:]}.{more}" if text else ""


def _said(entry: Mapping[str, Any], times: int, digits: int, unit: str = "") -> str:
    """`24 % (22 to 26)`."""
    text = f"{times * entry['value']:.{digits}f}{unit}"
    if entry.get("low") is None or entry.get("high") is None:
        return text
    return f"{text} ({times * entry['low']:.{digits}f} to {times * entry['high']:.{digits}f})"
