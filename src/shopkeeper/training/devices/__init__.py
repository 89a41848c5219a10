"""What a training runs on: the plan for a machine, what fits into its memory, several processes."""
