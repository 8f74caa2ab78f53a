"""Makes a plan and a batch script from a config, without asking a cluster."""
