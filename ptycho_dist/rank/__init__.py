"""What every rank runs, from its first line to its exit code."""
