"""How to spend compute, alone and under limits."""
