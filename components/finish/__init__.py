"""Cleans up after a run and reports how it ended."""
