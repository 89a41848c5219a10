"""Whom a campaign moves, learned from one that was randomised."""
