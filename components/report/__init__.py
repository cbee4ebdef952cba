"""Puts the results of all steps into one page."""
