"""From expected returns and risk to whole lots: limits, the program, rounding, what blocks a name, intents. Pure."""
