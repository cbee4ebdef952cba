"""Vectors and ids: the search index and hard-negative mining."""
