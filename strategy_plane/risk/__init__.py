"""How much may go wrong: market model, covariance, regime, brakes. Pure."""
