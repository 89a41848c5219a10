"""Files that `prepare` fetches before it reads: what a query gives, what lies in an object store (`raw.fetch`)."""
