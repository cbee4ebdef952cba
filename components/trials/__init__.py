"""Makes the trials of a sweep."""
