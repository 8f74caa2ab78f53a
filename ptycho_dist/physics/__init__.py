"""Forward model, losses, and the merge of patches; no files, no ranks, no Lightning."""
