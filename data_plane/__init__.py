"""Data Plane: sources -> gates -> topics."""
