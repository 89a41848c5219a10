"""Splits derived from the timeline, and the leak audit of what was written."""
