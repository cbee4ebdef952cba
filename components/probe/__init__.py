"""Asks the model server the probe set."""
