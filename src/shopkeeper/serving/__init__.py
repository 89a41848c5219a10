"""The public name by which serving teams import the answering side of bundles (`bundles.answer`): no torch needed."""

from shopkeeper.bundles.answer import Bundle, Score, Verification, verify

__all__ = ["Bundle", "Score", "Verification", "verify"]
