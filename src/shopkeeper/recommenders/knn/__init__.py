"""Models that look for customers, sessions or items like the one that is asked about."""
