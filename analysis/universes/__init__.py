"""The exponent under every defensible choice of analysis."""
