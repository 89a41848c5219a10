"""One file per model; all follow the contract in `base.py`."""
