"""For visitors without a history."""
