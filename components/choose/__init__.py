"""Ranks the trials of a sweep."""
