"""Copies one version of a catalogue and verifies it."""
