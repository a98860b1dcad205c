"""What the plane knows of the world, as arrays: prices, quotes, facts, rates, gates, the account. Pure."""
