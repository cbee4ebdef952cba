"""Joins the regions of all shares of the pictures."""
