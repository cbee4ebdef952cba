"""Stops the deployed model, whatever happened before."""
