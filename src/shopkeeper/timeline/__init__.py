"""The timeline: the one specification of cutoffs from which every split, feature, label and audit is derived.

All instants are int64 microseconds since 1970-01-01 00:00 UTC. Windows are half-open: what is strictly before a
cutoff t is known at t, what lies in [t, t + H) is what happens next.
"""

from shopkeeper.timeline.customers import CustomerSpec, CustomerWindows, WindowSettings, customer_windows
from shopkeeper.timeline.instants import DAY, instant, iso
from shopkeeper.timeline.spec import Cutoffs, SplitSettings, SplitSpec
from shopkeeper.timeline.zones import floor_day

__all__ = [
    "DAY",
    "CustomerSpec",
    "CustomerWindows",
    "WindowSettings",
    "Cutoffs",
    "SplitSettings",
    "SplitSpec",
    "customer_windows",
    "floor_day",
    "instant",
    "iso",
]
