"""Tries failed phases of all runs again, sample first. The same as `autopack triage`."""

from autopack.__main__ import entry

if __name__ == "__main__":
    entry("triage")
