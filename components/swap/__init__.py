"""Gives what serves a new search artefact."""
