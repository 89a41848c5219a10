"""Subcommands of `python -m shopkeeper`."""
