"""Bundles, ONNX graphs, golden requests: what a serving team receives.

from shopkeeper.bundles.write import export_bundle, export_customer_bundle
"""

from shopkeeper.bundles.write.customers import export_customer_bundle
from shopkeeper.bundles.write.recommender import export_bundle

__all__ = ["export_bundle", "export_customer_bundle"]
