"""Tests one window of traffic against a reference."""
