"""Turns a run.yaml into jobs of SLURM or of this machine, and shows what became of them."""
