"""Prepared dataset on disk -> requests and batches on the device."""
