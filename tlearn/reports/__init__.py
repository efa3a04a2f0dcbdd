"""The page about a run: what it was trained on, how good it is, and when not to believe it."""
