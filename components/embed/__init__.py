"""Embeds a share of the products."""
