"""SLURM's commands: run, parsed, typed."""
