"""Raw data -> one validated, consented log; the simulated shop."""
