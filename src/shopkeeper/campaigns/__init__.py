"""From scores to whom to write to, and whether it pays."""
