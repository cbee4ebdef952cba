"""Component `launch`."""
