"""Sequence models beside the first ones, whose runs name where those are: a network of `nn/` and its name each."""
