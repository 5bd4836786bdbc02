"""Published scaling-law results, computed again from their data: `lab replicate`."""
