"""Which features there are, as a configuration declares them (`conf/features/*.yaml`): a group each, with its windows.

What stands here where nothing is said are the features of runs and bundles from before they were declared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any

from shopkeeper.errors import whole
from shopkeeper.files import sha256_json
from shopkeeper.shapes import TEXT, Items
from shopkeeper.typed import held, read

DAYS = whole(1)


@dataclass(frozen=True)
class Windows:
    """Over the last so many days."""

    windows: tuple[int, ...] = held(Items(DAYS, 1))


@dataclass(frozen=True)
class Look:
    """The same over one window."""

    days: int = held(DAYS, 30)


@dataclass(frozen=True)
class Features:
    """Groups in the order of their columns; null, or false, leaves one out."""

    name: str = held(TEXT, "usual")
    recency: bool | None = True
    frequency: Windows | None = field(default_factory=lambda: Windows((30, 60, 90, 180)))
    money: Windows | None = field(default_factory=lambda: Windows((30, 60, 90, 180)))
    gaps: bool | None = True
    baskets: bool | None = True
    returns: bool | None = True
    looks: Look | None = field(default_factory=Look)
    visits: Windows | None = field(default_factory=lambda: Windows((30, 90)))
    habit: Windows | None = field(default_factory=lambda: Windows((90, 180)))
    channels: bool | None = True

    @property
    def groups(self) -> dict[str, Any]:
        """Those that there are, with their settings."""
        every = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "name"}
        return {name: told for name, told in every.items() if told}

    def as_json(self) -> dict[str, Any]:
        """As a manifest says it: the groups that there are."""
        return {name: _plain(told) for name, told in self.groups.items()}

    @property
    def hash(self) -> str:
        """SHA-256 of what is declared, whatever its name is; a group that is left out, or not thought of yet, is not in
        it."""
        return sha256_json(self.as_json())

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Features:
        """From what `as_json` gave; a `UserError` names a group that there is not."""
        return read(cls, {f.name: None for f in fields(cls) if f.name != "name"} | dict(said), "features")


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value


USUAL = Features()
