"""The triplane command, one module a verb."""
