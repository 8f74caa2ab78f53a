"""Scaling studies: a grid of runs, from plan to report (docs/how-to/scaling.md)."""
