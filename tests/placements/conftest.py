"""What the tests of places in a shop share."""

from cameras import house

__all__ = ["house"]
