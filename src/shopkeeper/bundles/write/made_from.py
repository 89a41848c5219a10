"""What a bundle is told of the run that it is made from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from shopkeeper.shapes import Yaml
from shopkeeper.timeline import instant, iso


@dataclass(frozen=True, kw_only=True)
class MadeFrom:
    """A run, as its bundle's manifest speaks of it; what is not known is None, null in the manifest."""

    model: str | None = None
    task: str | None = None
    seed: int | None = None
    filter_seen: bool = False  # whether lists leave out what somebody had before
    commit: str | None = None
    split: str | None = None
    protocol: str | None = None
    target_hash: str | None = None
    metrics: Yaml | None = None  # as in metrics.json
    chosen: Yaml | None = None  # how it was found among others
    judged: Yaml | None = None  # how it did beside the strongest baseline
    cutoff: str | None = None  # of its training rows
    windows: Yaml | None = None  # of customer models, instants as ISO 8601
    currency: str | None = None  # of the log's prices
    refit: bool = False  # fitted anew for test, on all that ended before its cutoff

    @classmethod
    def of_bundle(cls, manifest: Yaml) -> MadeFrom:
        """What the manifest of a bundle says of its run, for another one that is made of that."""
        told: dict[str, Any] = {n: manifest.get(n) for n in ("model", "task", "seed", "metrics", "chosen", "judged")}
        return cls(**told)

    @property
    def trained_until(self) -> str | None:
        """When what was learnt from ended; of customer models the last day of which labels were seen."""
        if self.cutoff or not self.windows:
            return self.cutoff
        if self.refit:
            return str(self.windows["test"])
        days = timedelta(days=self.windows["horizon_days"])
        return iso(instant(self.windows["calibration"], "windows.calibration") + days // timedelta(microseconds=1))

    @property
    def asked(self) -> dict[str, str | None]:
        """Which questions its figures are about."""
        return {"split": self.split, "protocol": self.protocol, "target_hash": self.target_hash}
