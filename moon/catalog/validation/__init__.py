"""Validation of a catalogue with Great Expectations; importing `checks` takes seconds, so only the step does."""
