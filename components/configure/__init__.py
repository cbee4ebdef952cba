"""Splits the recipe into the parameters of each step."""
