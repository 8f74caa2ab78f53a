"""The report of one run: reading its directory, drawing the figures, and writing the page."""
