"""A bundle for other runtimes: a model repository for Triton."""

from shopkeeper.bundles.targets.triton import write_triton

__all__ = ["write_triton"]
