"""What quality takes: runs that none beats for their resources."""
