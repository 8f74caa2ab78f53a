"""Training and reconstruction of ptychography networks on one or many ranks."""
