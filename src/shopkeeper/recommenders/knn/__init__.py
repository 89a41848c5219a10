"""Models that look for customers or sessions like the one that asks."""
