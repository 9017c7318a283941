"""Drains exactly one phase of a run. The same as `autopack drain-one`."""

from autopack.__main__ import entry

if __name__ == "__main__":
    entry("drain-one")
