"""The networks, and the interface through which training and reconstruction use them."""
