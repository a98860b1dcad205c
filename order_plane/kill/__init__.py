"""What stops trading: levels, the local latch, the loopback and the switch from outside."""
