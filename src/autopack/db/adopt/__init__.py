"""The databases of the earlier Autopack: read, put into today's words, and carried into a copy without losing a value."""
