"""Starts the training that a window asks for."""
