"""Starts the model server and tries it."""
