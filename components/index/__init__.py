"""Puts the shares of an embedded catalogue together."""
