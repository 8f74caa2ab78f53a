"""Scan files, grouping, sample order, loaders, simulation, and copies on node-local disks."""
