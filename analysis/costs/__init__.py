"""What scale costs: energy, carbon and money, as published, as calculated, as a store recorded it."""
