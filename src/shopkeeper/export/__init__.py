"""Bundles, ONNX graphs, golden requests: what a serving team receives.

from shopkeeper.export import export_bundle, export_customer_bundle
"""

from shopkeeper.export.bundle import export_bundle
from shopkeeper.export.customers import export_customer_bundle

__all__ = ["export_bundle", "export_customer_bundle"]
