"""One file per family of metrics, formula in the docstring."""
