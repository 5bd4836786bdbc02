"""Which runs to train next: what candidates would tell of a target, and the choice among them."""
