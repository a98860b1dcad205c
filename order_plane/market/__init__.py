"""What the plane knows of the market and its use of it: quotes, participation, learned costs. Pure."""
