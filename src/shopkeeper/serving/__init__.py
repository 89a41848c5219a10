"""Reads a bundle and answers, without torch."""
