"""Changing runs: submit, hand over, cancel, resume, clean."""
