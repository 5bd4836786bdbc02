"""Bias that can be counted: associations in embeddings, and error rates that differ between groups."""
