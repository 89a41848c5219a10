"""For whom and what nobody knows yet: visitors without a history, items without sales."""
