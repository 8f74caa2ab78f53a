"""Arrays: a grid of runs, submitted as job arrays (docs/how-to/arrays.md)."""
