"""What one item says of another: weights between pairs of items, from what people took together."""
