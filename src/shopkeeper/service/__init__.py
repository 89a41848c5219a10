"""A bundle behind HTTP: `shopkeeper serve <bundle>`, or `create_app(bundle)` for a server of one's own."""

from shopkeeper.service.app import create_app
from shopkeeper.service.limits import Limits

__all__ = ["Limits", "create_app"]
