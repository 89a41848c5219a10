"""Blocks, encoders, losses, heads: torch only."""
