"""The commands `ptycho-train`, `ptycho-infer` and `ptycho-data`."""
