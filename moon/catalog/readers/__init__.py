"""Readers of public formats, one a file; what they read goes into a `CatalogSink`."""
