"""The networks themselves, one a file; the contract of each is `nn/network.py`."""
