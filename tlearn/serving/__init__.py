"""Runs as a web service: requests are collected into batches for the engine."""
