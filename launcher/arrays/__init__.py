"""Arrays: grids of runs that are submitted as job arrays (docs/how-to/arrays.md)."""
