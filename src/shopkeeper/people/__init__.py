"""Customers are the shop's, not the model's: consent, identity, erasure, pseudonyms, and where somebody still is."""
