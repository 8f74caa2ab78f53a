"""Attempts, the starts of a run: beginning, ending, and whether another follows. Torch-free."""
