"""Finds near-duplicates."""
