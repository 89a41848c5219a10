"""What is asked of a shop's data: one file per task, found by its name in the configuration. See `base.Task`."""
