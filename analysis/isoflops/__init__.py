"""Minima of the loss at equal compute, and how they grow."""
