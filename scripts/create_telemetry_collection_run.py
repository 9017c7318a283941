"""Seeds the telemetry collection run: ten phases under examples/telemetry_utils/. The same as `autopack seed-telemetry`."""

from autopack.__main__ import entry

if __name__ == "__main__":
    entry("seed-telemetry")
