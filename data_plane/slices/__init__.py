"""Single bars, quotes and trades into judged cross-sections. Pure."""
