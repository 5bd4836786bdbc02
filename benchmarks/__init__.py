"""Speed and scorecards that no user of the package calls: run from a checkout, not installed."""
