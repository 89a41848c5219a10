"""How much a service takes: what is more is refused before it costs anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shopkeeper.errors import UserError


@dataclass(frozen=True)
class Limits:
    """Of one process."""

    body: int = 1_000_000  # bytes
    history: int = 10_000  # events of a request, those of the basket among them
    requests: int = 256  # in one body; never more than may wait
    waiting: int = 512  # requests that are taken and not yet answered: a further one gets 429
    arrive: float = 10.0  # seconds in which a body must have come; 0: however long
    together: int = 64  # requests that are answered in one call
    reload: float = 5.0  # seconds between looks at the bundle's folder; 0: never
    drain: float = 20.0  # seconds that a stopping service waits for what it has taken

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = 0 if name in ("arrive", "reload", "drain") else 1
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
                raise UserError(f"{name}={value!r}: write a number of at least {least}")

    @property
    def in_body(self) -> int:
        """The most requests in one body: of more than may wait nobody could ever be answered."""
        return min(self.requests, self.waiting)

    def too_long(self, said: Any) -> str | None:
        """Why a request is refused before it is read; None: it is not."""
        if not isinstance(said, Mapping):
            return None
        events = sum(len(said[key]) for key in ("history", "basket", "exclude") if isinstance(said.get(key), list))
        if events > self.history:
            return f"history, basket and exclude have {events:,} entries; at most {self.history:,} are read"
        return None
