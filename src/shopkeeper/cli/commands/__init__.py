"""The commands that are no verb, a file per subject: their arguments, and a small function per command."""
