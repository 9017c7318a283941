"""Writes the token estimation events as NDJSON or CSV. The same as `autopack telemetry export`."""

from autopack.__main__ import entry

if __name__ == "__main__":
    entry("telemetry", "export")
