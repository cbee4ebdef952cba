"""Checks the catalogue against its thresholds."""
