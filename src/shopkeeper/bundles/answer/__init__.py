"""Reads a bundle and answers, without torch.

from shopkeeper.bundles.answer import Bundle, CustomerBundle, verify
"""

from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.answer.customers import CustomerBundle
from shopkeeper.bundles.answer.verify import Verification, verify

__all__ = ["Bundle", "CustomerBundle", "Verification", "verify"]
