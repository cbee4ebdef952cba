"""Promotes the version that was tried, or takes it back."""
