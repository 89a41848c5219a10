"""What each verb does, in the order it does it; the only package that knows all the others."""
