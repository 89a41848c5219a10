"""A list once more in order: for variety, for a customer's own mix, for what is new, in stock or earns; and by rule."""
