"""What `evaluate` does beside the runs themselves: baselines for the table, checks of what is compared."""
