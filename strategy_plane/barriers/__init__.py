"""When a barrier is due and what it sees: the sequencer and the cut. Pure."""
