"""A part of the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True)
class Section:
    """A part of the page with its place in the table of contents."""

    anchor: str
    name: str  # in the table of contents
    title: str
    lead: str
    content: Markup
    of: str = ""  # the part that it belongs to: it stands in that one's own list, not in that of the page
