"""Bundles, ONNX graphs, golden requests: what a serving team receives."""
