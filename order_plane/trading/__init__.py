"""What to do next: intents, exposure, risk checks, child orders, reconciliation. Pure."""
