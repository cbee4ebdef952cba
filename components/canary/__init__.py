"""Judges the version that is tried."""
