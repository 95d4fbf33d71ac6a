"""To-do items: each caller's own, on whichever replica."""
