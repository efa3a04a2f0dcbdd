"""The frozen part of a backbone: built, run by an engine, and cached."""
