"""One start of a run: how it began, how it ended, and whether another follows. Torch-free."""
