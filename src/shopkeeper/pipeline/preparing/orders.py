"""Lines that were bought together in a log where nothing numbers orders: each is then asked for on its own."""

from __future__ import annotations

from shopkeeper.data.prepared import Prepared

TORN = 0.1  # share of the lines from which on it is told


def without_orders(prepared: Prepared) -> float:
    """The share of lines that stand beside another of their customer's at one instant, in a log of purchases alone.

    0 where orders have numbers, where something else than purchases is in the log, and below `TORN`.
    """
    ties, kinds = prepared.manifest.get("ties") or {}, prepared.manifest["event_types"]
    if prepared.events.order is not None or not set(kinds) <= {"purchase", "return"} or prepared.n_items < 2:
        return 0.0
    share = float(ties.get("share", 0))
    return share if share >= TORN else 0.0


def torn_line(share: float) -> str:
    """What that means; whoever says it adds the way out in words of files or of a call."""
    return (
        f"{share:.0%} of the lines share customer and instant with the line before, and no column numbers orders, so "
        f"each line is asked for on its own"
    )
