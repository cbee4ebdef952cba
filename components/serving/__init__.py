"""Tells which version of the model serves."""
