"""Brings a registered model to where the run works."""
