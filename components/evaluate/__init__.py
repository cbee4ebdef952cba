"""Measures the trained model beside the one it started from."""
