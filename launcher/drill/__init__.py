"""Interrupts a short run and checks that it resumes exactly."""
