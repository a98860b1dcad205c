"""Order Plane: intents -> risk -> throttle -> broker -> fills -> learned costs."""
