"""The prefix of a backbone, which is frozen: built, run by an engine, and cached."""
