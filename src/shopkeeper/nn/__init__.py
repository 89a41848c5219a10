"""Blocks, encoders, losses, heads: torch only (and what can be set about a loss, without)."""
