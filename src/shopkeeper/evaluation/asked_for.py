"""What a shop was asked for, in a sentence: how large the baskets are, and how much of them had been taken before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def asked_for(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Of any model's figures on the requests, since they are the same for all; "" where the data do not say it.

    >>> asked_for({"basket_size": {"value": 1.416, "low": 1.38, "high": 1.46}, "bought_before": {"value": 0.24}})
    'Baskets of 1.42 (1.38 to 1.46) items; 24 % of what was taken had been taken before.'
    """
    said = []
    if (size := metrics.get("basket_size") or {}).get("value") is not None:
        said.append(f"baskets of {_said(size, 1, 2)} items")
    if (share := metrics.get("bought_before") or {}).get("value") is not None:
        said.append(f"{_said(share, 100, 0, ' %')} of what was taken had been taken before")
    text = "; ".join(said)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _said(entry: Mapping[str, Any], times: int, digits: int, unit: str = "") -> str:
    """`24 % (22 to 26)`."""
    text = f"{times * entry['value']:.{digits}f}{unit}"
    if entry.get("low") is None or entry.get("high") is None:
        return text
    return f"{text} ({times * entry['low']:.{digits}f} to {times * entry['high']:.{digits}f})"
