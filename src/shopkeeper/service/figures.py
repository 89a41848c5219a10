"""Counters of a service in Prometheus' text format (0.0.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Histogram:
    """How many values lie below each bound."""

    def __init__(self, bounds: tuple[float, ...]):
        self.bounds, self.counts, self.sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        """One value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str, meaning: str) -> list[str]:
        """As Prometheus reads it."""
        lines, total = [f"# HELP {name} {meaning}", f"# TYPE {name} histogram"], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {total}')
        return [*lines, f"{name}_sum {self.sum:.9g}", f"{name}_count {total}"]


class Figures:
    """What a service has done since it began."""

    def __init__(self) -> None:
        self.responses: Counter[tuple[str, int]] = Counter()  # by path and status
        self.refused: Counter[str] = Counter()  # by code
        self.seen: Counter[str] = Counter()  # as bundles count: requests, events, unknown_items, …
        self.reloads: Counter[str] = Counter()  # done, refused
        self.seconds, self.batches = Histogram(SECONDS), Histogram(SIZES)

    def text(self, seen: Mapping[str, int], waiting: int, ready: bool) -> str:
        """All of them; `seen`: what the bundle that answers now has counted."""
        counted = self.seen + Counter(seen)
        families = {
            "shopkeeper_responses_total": (
                "HTTP responses.",
                {f'path="{path}",status="{status}"': n for (path, status), n in self.responses.items()},
            ),
            "shopkeeper_refused_total": ("Requests refused.", {f'code="{c}"': n for c, n in self.refused.items()}),
            "shopkeeper_bundle_total": ("What bundles count.", {f'what="{w}"': n for w, n in counted.items()}),
            "shopkeeper_reloads_total": ("Newer bundles.", {f'outcome="{o}"': n for o, n in self.reloads.items()}),
        }
        lines = []
        for name, (meaning, values) in families.items():
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} counter"]
            lines += [f"{name}{{{labels}}} {n}" for labels, n in sorted(values.items())]
        for name, meaning, value in (
            ("shopkeeper_waiting", "Requests taken and not yet answered.", waiting),
            ("shopkeeper_ready", "Whether requests are taken.", int(ready)),
        ):
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} gauge", f"{name} {value}"]
        lines += self.seconds.lines("shopkeeper_response_seconds", "Of responses to questions.")
        lines += self.batches.lines("shopkeeper_batch_requests", "Requests answered in one call.")
        return "\n".join(lines) + "\n"
