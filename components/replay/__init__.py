"""Sends the deployed model windows of traffic."""
