"""What `prepare` makes and every other verb makes where it is missing: the dataset, and a split of it."""
