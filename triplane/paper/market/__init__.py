"""The simulated market: real closes, a seeded path between them, liquidity, the matching engine, and its clock."""
