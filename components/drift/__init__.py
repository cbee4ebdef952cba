"""Tests windows of traffic for drift."""
