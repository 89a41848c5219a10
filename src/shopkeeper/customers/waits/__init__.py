"""Days until the next order: what is said of them, and models that say nothing else."""
