"""Shows what a version of the estimator would have budgeted. The same as `autopack replay-telemetry`."""

from autopack.__main__ import entry

if __name__ == "__main__":
    entry("replay-telemetry")
