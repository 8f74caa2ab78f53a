"""The page of one run: what is read of its directory, the figures, the page, and its file."""
