"""Gives a model that passed the gate a version."""
