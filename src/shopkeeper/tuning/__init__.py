"""Searching a model's settings: what may change, the study in its database, what it leaves behind."""
