"""Whether a figure may be believed: what a model read, what cannot be so good, what a baseline says."""
