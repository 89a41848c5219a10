"""A prepared dataset on disk, opened as questions; NumPy only."""
