"""The object of a scan, stitched over all ranks, with its files, picture and scores."""
