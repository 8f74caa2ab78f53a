"""What this login node has."""
