"""Drains the queued phases of a run, batch by batch. The same as `autopack drain`."""

from autopack.__main__ import entry

if __name__ == "__main__":
    entry("drain")
