"""What a file seems to hold: the first version of a dataset's YAML, and its doubts."""
