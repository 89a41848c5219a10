"""Lists of customers as files that tools for mail and advertising take; contact keys come in here and nowhere else."""
