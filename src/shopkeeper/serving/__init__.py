"""Reads a bundle and answers, without torch.

from shopkeeper.serving import Bundle, CustomerBundle, verify
"""

from shopkeeper.serving.bundle import Bundle
from shopkeeper.serving.customers import CustomerBundle
from shopkeeper.serving.verify import Verification, verify

__all__ = ["Bundle", "CustomerBundle", "Verification", "verify"]
