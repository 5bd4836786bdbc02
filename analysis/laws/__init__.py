"""What a law is, and the laws that are named."""
