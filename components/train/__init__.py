"""Trains the model on purchases."""
