"""Makes the windows of the collected traffic."""
