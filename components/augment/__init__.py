"""Makes augmented training products."""
