"""Profiles of computing centres, their rules, and the starter config."""
