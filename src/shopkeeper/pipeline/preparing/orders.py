"""Lines that were bought together in a log where nothing numbers orders: each is then asked for on its own."""

from __future__ import annotations

from shopkeeper.data.prepared import Prepared

TORN = 0.1  # share of the lines from which on it is told


def without_orders(prepared: Prepared) -> float:
    """The share of purchases that stand beside another of their customer's at one instant, whatever else the log has.

    0 where orders have numbers, and below `TORN`.
    """
    if prepared.events.order is not None or prepared.n_items < 2:
        return 0.0
    share = float((prepared.manifest.get("ties") or {}).get("of_purchases", 0))
    return share if share >= TORN else 0.0


def torn_line(share: float) -> str:
    """What that means; whoever says it adds the way out in words of files or of a call."""
    return (
        f"{share:.0%} of the purchases share customer and instant with the one before, and no column numbers orders, "
        f"so each line is asked for on its own"
    )
