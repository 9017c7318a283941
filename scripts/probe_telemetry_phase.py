"""Drains one phase and says whether it left telemetry behind. The same as `autopack probe`."""

from autopack.__main__ import entry

if __name__ == "__main__":
    entry("probe")
