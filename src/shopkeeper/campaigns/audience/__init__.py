"""Whom to write to, with what, and who is left alone so that the effect can be seen."""
