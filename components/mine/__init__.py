"""Finds hard negatives."""
