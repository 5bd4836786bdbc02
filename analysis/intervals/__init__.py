"""What a fit does not know: bootstrap by design, profile likelihood, calibration on the same design."""
