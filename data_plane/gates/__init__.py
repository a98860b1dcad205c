"""Gates: pure functions and small state machines that decide what may pass. No clock, no I/O; thresholds come from DataTargets."""
