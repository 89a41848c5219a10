"""What a network is trained for, one objective a file; the contract is `training/objective.py`."""
