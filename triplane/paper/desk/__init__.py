"""The simulated broker's desk: order states, checks, the account, the journal."""
