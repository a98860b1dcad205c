"""Pure words of the trade: assets, calendars, lots and ticks, ids, positions and NAV, cost formula, parameters. No I/O, no clock."""
