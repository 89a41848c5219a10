"""Sequence models: a network of `nn/networks/`, and what all of these share (`sequence.py`)."""
