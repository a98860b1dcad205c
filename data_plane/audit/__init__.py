"""Faults of a whole price history, found with hindsight: what gates that see one slice at a time cannot judge."""
