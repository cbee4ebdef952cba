"""Watching the served model: windows of traffic, the tests that compare them, the decision and its reports."""
