"""The loop: Lightning module, callbacks, checkpoints, validation."""
