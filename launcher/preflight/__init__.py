"""Checks a run against the live cluster before it is submitted."""
