"""Following a run: its progress and its logs."""
