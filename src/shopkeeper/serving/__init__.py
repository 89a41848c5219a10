"""The public name by which serving teams import the answering side of bundles (`bundles.answer`): no torch needed."""

from shopkeeper.bundles.answer import Answer, Bundle, Verification, verify

__all__ = ["Answer", "Bundle", "Verification", "verify"]
