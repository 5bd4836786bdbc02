"""What laws were worth one scale earlier, and forecasts of runs that were not fitted."""
