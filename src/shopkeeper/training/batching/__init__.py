"""From flat arrays to batches: the training view, histories of requests, and how a batch lies in memory."""
