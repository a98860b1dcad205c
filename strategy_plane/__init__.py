"""Strategy Plane: sequencer -> factors -> signals -> regime -> target weights -> intents."""
