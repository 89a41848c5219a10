"""What becomes of an exported bundle: a version in a registry, and who is served."""
