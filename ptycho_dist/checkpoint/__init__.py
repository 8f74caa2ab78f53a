"""Checkpoints of a run: which there are, how they are written and read, and which remain."""
