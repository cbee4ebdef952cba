"""Catalogue tables: their schema, storage, readers of public formats, the rendered catalogue and validation suites."""
