"""shopkeeper: what each regular will want next, who is drifting away, what they are worth.

Importing the package is cheap: no torch, no Polars, no MLflow until a verb needs them.
"""

__version__ = "0.1.0"
