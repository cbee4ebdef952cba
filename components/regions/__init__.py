"""Finds the core region of every picture."""
