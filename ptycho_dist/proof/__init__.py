"""The proof, from the ledgers, that each sample was used once per epoch. Torch-free."""
