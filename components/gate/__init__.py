"""Decides whether the model may be registered."""
