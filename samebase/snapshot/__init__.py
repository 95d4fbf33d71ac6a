"""Snapshots: the log's state at an offset, streamed from one replica to another, into a file, or compared."""
