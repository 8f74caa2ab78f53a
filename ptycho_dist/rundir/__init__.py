"""The run directory: the one place that records what a run is, does and did.

Torch-free. Plain JSON, written atomically, one file per writer, readable without pickle
(specs/run_directory.md).
"""
