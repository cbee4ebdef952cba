"""Tries a registered version beside the one that serves."""
