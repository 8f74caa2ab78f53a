"""Typed, frozen, torch-free configuration: what a person asks for, checked before anything runs."""
