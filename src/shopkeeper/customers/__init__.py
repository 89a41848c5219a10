"""One file per churn / propensity / value model; all follow the contract in `base.py`."""
