"""Bundles: what a serving team receives.

from shopkeeper.bundles.write import export_bundle
"""

from shopkeeper.bundles.write.bundle import export_bundle

__all__ = ["export_bundle"]
