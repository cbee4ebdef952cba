"""Judges a window of collected traffic."""
