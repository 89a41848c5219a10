"""Reads a bundle and answers, without torch.

from shopkeeper.serving import Bundle, verify
"""

from shopkeeper.bundles.answer.answers import Answer
from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.answer.verify import Verification, verify

__all__ = ["Answer", "Bundle", "Verification", "verify"]
