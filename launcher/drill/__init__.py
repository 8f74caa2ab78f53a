"""Interrupts a short run with real signals, and checks that it resumes exactly."""
