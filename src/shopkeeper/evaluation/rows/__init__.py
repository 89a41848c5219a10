"""The rows of the one table (`evaluation/table.py`): what kinds of answers there are, and who makes their columns."""
