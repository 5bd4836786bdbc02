"""Speed of training on this machine, beside two limits: its own matrix products, and a peer."""
