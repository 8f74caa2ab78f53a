"""Reports on this login node, for a ticket."""
