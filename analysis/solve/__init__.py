"""Solvers: robust objectives, starts, batched Newton, and the search that joins them."""
