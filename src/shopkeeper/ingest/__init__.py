"""Reading a shop's files: one reader per format, checked against the declared schema, as one log in memory."""
