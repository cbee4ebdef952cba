"""Compares the new model with the one that serves."""
